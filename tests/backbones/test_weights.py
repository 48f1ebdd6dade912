import logging
from pathlib import Path

import pytest
import torch

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig
from detection.errors import CheckpointError, ConfigError
from detection.model_io import save_detector
from detection.tiny import tiny_detector
from tests.backbones.saved import saved, squeezenet

REAL = Path(__file__).parents[3] / "shared/weights/squeezenet1_0_imagenet_caffe.safetensors"


def test_our_own_keys_are_read_back(tmp_path):
    first = load_backbone(squeezenet(seed=1))
    path = saved(tmp_path, first.state_dict())
    second = load_backbone(squeezenet(weights=path))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=1))


def test_fc_layers_come_with_the_file(tmp_path):
    trunk = load_backbone(BackboneConfig(name="alexnet")).trunk.state_dict()
    tensors = {f"features.{key}": value for key, value in trunk.items()}
    generator = torch.Generator().manual_seed(0)
    tensors |= {
        "classifier.1.weight": torch.randn(6, 9216, generator=generator),
        "classifier.1.bias": torch.zeros(6),
        "classifier.4.weight": torch.randn(5, 6, generator=generator),
        "classifier.4.bias": torch.ones(5),
        "classifier.6.weight": torch.zeros(1000, 5),
    }
    config = BackboneConfig(
        name="alexnet", weights=saved(tmp_path, tensors), preprocessing="torchvision"
    )
    fc = load_backbone(config).fc
    pool5 = torch.rand(2, 9216, generator=generator)
    fc6 = (pool5 @ tensors["classifier.1.weight"].T).relu()
    fc7 = (fc6 @ tensors["classifier.4.weight"].T + 1).relu()
    assert torch.allclose(fc(pool5), fc7, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("missing", ["fc6.weight", "fc7.weight"])
def test_half_of_the_fc_layers_is_refused(tmp_path, missing):
    tensors = dict(load_backbone(BackboneConfig(name="zf5")).state_dict())
    tensors |= {"fc6.weight": torch.zeros(4, 12800), "fc6.bias": torch.zeros(4)}
    tensors |= {"fc7.weight": torch.zeros(4, 4), "fc7.bias": torch.zeros(4)}
    del tensors[missing]
    with pytest.raises(CheckpointError, match="expected fc6 and fc7 that fit together"):
        load_backbone(BackboneConfig(name="zf5", weights=saved(tmp_path, tensors)))


def test_random_weights_are_said_loudly_and_repeat(caplog):
    before = torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        first, again, other = (load_backbone(squeezenet(seed=s)) for s in (0, 0, 1))
    assert "RANDOM weights" in caplog.text
    weights = [backbone.trunk[0].weight for backbone in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), before)
    assert first.fc is None


def test_an_unknown_backbone_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"backbone.name: expected one of zf5, .*got 'vgg61'"):
        load_backbone(BackboneConfig(name="vgg61"))


def test_a_file_of_unknown_preprocessing_is_refused(tmp_path, state):
    config = squeezenet(weights=saved(tmp_path, state), preprocessing="auto")
    with pytest.raises(ConfigError, match=r"backbone.preprocessing: expected one of caffe, "):
        load_backbone(config)


@pytest.mark.data
@pytest.mark.skipif(not REAL.exists(), reason="the pretrained weights are not beside the checkout")
def test_the_pretrained_squeezenet_is_read():
    backbone = load_backbone(squeezenet(weights=str(REAL), preprocessing="caffe"))
    with torch.no_grad():
        conv5 = backbone(backbone.preprocessing.apply(torch.rand(1, 3, 64, 64) * 255))
    assert conv5.shape[1] == 512
    assert 1 < conv5.mean() < 20


@pytest.mark.parametrize("named", ["run", "file"])
def test_a_trained_detector_can_be_started_from(tmp_path, named):
    detector = tiny_detector(("ball", "cup"), seed=3)
    save_detector(tmp_path / "run" / "model.safetensors", detector)
    place = tmp_path / "run" if named == "run" else tmp_path / "run" / "model.safetensors"
    backbone = load_backbone(squeezenet(weights=str(place), preprocessing="auto"))
    expected = detector.extractor.backbone.trunk.state_dict()
    actual = backbone.trunk.state_dict()
    assert all(actual[name].equal(tensor) for name, tensor in expected.items())
    assert backbone.preprocessing == detector.extractor.backbone.preprocessing


def test_a_detector_on_another_backbone_is_refused(tmp_path):
    save_detector(tmp_path / "model.safetensors", tiny_detector())
    config = BackboneConfig(name="alexnet", weights=str(tmp_path / "model.safetensors"))
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_backbone(config)
