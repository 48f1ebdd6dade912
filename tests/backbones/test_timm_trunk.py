import logging
import sys

import pytest
import torch
from safetensors.torch import save_file

from detection.backbones.backbone import PREPROCESSINGS
from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig
from detection.errors import CheckpointError, ConfigError

timm = pytest.importorskip("timm")


def small(**settings):
    return BackboneConfig(**{"name": "timm/test_convnext", **settings})


def test_random_weights_are_said_loudly_and_repeat(caplog):
    image = torch.rand(1, 3, 64, 64)
    before = torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        first, again, other = (load_backbone(small(seed=seed)) for seed in (0, 0, 1))
    assert "RANDOM weights" in caplog.text
    assert torch.equal(first(image), again(image))
    assert not torch.equal(first(image), other(image))
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(parameter.requires_grad for parameter in first.parameters())


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_file_of_timm_is_read(tmp_path, suffix):
    model = timm.create_model("test_convnext").eval()
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save(model.state_dict(), path)
    else:
        save_file(model.state_dict(), path)
    backbone = load_backbone(small(weights=str(path)))
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        stem = model.stages[:3](model.stem(image))
        assert torch.allclose(backbone(image), stem, atol=1e-6)


def test_damaged_and_missing_files_are_refused(tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"PK half a file")
    for name in ("broken.pth", "gone.pth"):
        with pytest.raises(CheckpointError, match=name):
            load_backbone(small(weights=str(tmp_path / name)))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    tensors = timm.create_model("test_convnext").state_dict()
    tensors["stem.0.bias"] = tensors["stem.0.bias"] * float("nan")
    torch.save(tensors, tmp_path / "nan.pth")
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        load_backbone(small(weights=str(tmp_path / "nan.pth")))


def test_preprocessing_is_the_models_own_or_the_one_asked_for():
    own = load_backbone(small()).preprocessing
    assert own.order == "rgb"
    assert own.mean == tuple(timm.create_model("test_convnext").pretrained_cfg["mean"])
    asked = load_backbone(small(preprocessing="caffe")).preprocessing
    assert asked == PREPROCESSINGS["caffe"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "no network that timm can cut"),
        ("vit_tiny_patch16_224", "expected a convolutional network for images of any size"),
        ("tf_efficientnet_lite0", "expected layers with a fixed padding"),
    ],
)
def test_networks_that_do_not_fit_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        load_backbone(small(name=f"timm/{name}"))


def test_a_network_without_stride_16_is_refused(monkeypatch):
    class Info:
        @staticmethod
        def reduction():
            return [4, 8, 32]

    class Probe:
        feature_info = Info

    monkeypatch.setattr(timm, "create_model", lambda *_, **__: Probe())
    with pytest.raises(ConfigError, match=r"a map of stride 16, got timm/test_convnext"):
        load_backbone(small())


def test_without_timm_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match="pip install timm"):
        load_backbone(small())
