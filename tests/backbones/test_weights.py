import hashlib
import logging
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from detection.backbones import weights as module
from detection.backbones.backbone import PREPROCESSINGS
from detection.backbones.weight_files import read_state
from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig
from detection.errors import CheckpointError, ConfigError

REAL = Path(__file__).parents[3] / "shared/weights/squeezenet1_0_imagenet_caffe.safetensors"


def squeezenet(**settings):
    return BackboneConfig(name="squeezenet", **{"preprocessing": "torchvision", **settings})


@pytest.fixture(scope="module")
def state():
    """A state dict as torchvision's SqueezeNet has it."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return models.squeezenet1_0().state_dict()


def saved(tmp_path, tensors, name="weights.safetensors"):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return str(path)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_published_keys_are_read_from_files(tmp_path, state, name):
    backbone = load_backbone(squeezenet(weights=saved(tmp_path, state, name)))
    assert torch.equal(backbone.trunk[0].weight, state["features.0.weight"])
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    original = models.squeezenet1_0().eval()
    original.load_state_dict(state)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(image), original.features(image))


def test_our_own_keys_are_read_back(tmp_path):
    first = load_backbone(squeezenet(seed=1))
    path = saved(tmp_path, first.state_dict())
    second = load_backbone(squeezenet(weights=path))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=1))


def test_a_state_dict_may_lie_in_a_checkpoint(tmp_path, state):
    path = saved(tmp_path, {"state_dict": state, "epoch": 3}, "checkpoint.pt")
    assert torch.equal(
        load_backbone(squeezenet(weights=path)).trunk[0].weight, state["features.0.weight"]
    )


def test_half_precision_files_become_float32(tmp_path, state):
    halves = {key: tensor.half() for key, tensor in state.items()}
    backbone = load_backbone(squeezenet(weights=saved(tmp_path, halves)))
    assert backbone.trunk[0].weight.dtype == torch.float32


def test_batch_statistics_are_read_and_counters_not_asked_for(tmp_path):
    model = models.resnet18()
    model.bn1.running_mean += 0.5
    tensors = {k: v for k, v in model.state_dict().items() if "num_batches" not in k}
    config = BackboneConfig(
        name="resnet18_c4", weights=saved(tmp_path, tensors), preprocessing="torchvision"
    )
    backbone = load_backbone(config)
    assert torch.equal(backbone.trunk.bn1.running_mean, torch.full((64,), 0.5))
    image = torch.rand(1, 3, 64, 64)
    network = model.eval()
    layers = (network.conv1, network.bn1, network.relu, network.maxpool)
    expected = image
    with torch.no_grad():
        for layer in (*layers, network.layer1, network.layer2, network.layer3):
            expected = layer(expected)
        assert torch.equal(backbone(image), expected)


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


def test_a_file_can_name_its_preprocessing(tmp_path, state):
    path = tmp_path / "w.safetensors"
    save_file(state, path, metadata={"preprocessing": "caffe"})
    backbone = load_backbone(squeezenet(weights=str(path), preprocessing="auto"))
    assert backbone.preprocessing == PREPROCESSINGS["caffe"]


def test_preprocessing_makes_the_mean_zero():
    torchvision = PREPROCESSINGS["torchvision"]
    mean = torch.tensor(torchvision.mean).view(1, 3, 1, 1) * 255
    assert torchvision.apply(mean).abs().max() < 1e-6
    white = torchvision.apply(torch.full((1, 3, 1, 1), 255.0)).flatten()
    expected = [(1 - m) / s for m, s in zip(torchvision.mean, torchvision.std, strict=True)]
    assert torch.allclose(white, torch.tensor(expected))
    rgb = torch.tensor([123.0, 117, 104]).view(1, 3, 1, 1)
    assert PREPROCESSINGS["caffe"].apply(rgb).abs().max() == 0


def test_weights_of_another_network_are_refused_with_what_differs(tmp_path, state):
    path = saved(tmp_path, {f"layer1.{k}": v for k, v in state.items()})
    with pytest.raises(CheckpointError, match=r"expected the keys of this backbone, got layer1\."):
        load_backbone(squeezenet(weights=path))


def test_missing_and_misshapen_weights_are_listed(tmp_path, state):
    tensors = dict(state)
    del tensors["features.3.squeeze.bias"]
    tensors["features.0.weight"] = torch.zeros(96, 3, 5, 5)
    tensors["features.99.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as caught:
        load_backbone(squeezenet(weights=saved(tmp_path, tensors)))
    message = str(caught.value)
    assert "missing trunk.3.squeeze.bias" in message
    assert "unknown trunk.99.bias" in message
    assert "trunk.0.weight: (96, 3, 7, 7) in the network, (96, 3, 5, 5) in the file" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, state, name, value):
    tensors = {**state, "features.0.bias": torch.full((96,), value)}
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        load_backbone(squeezenet(weights=saved(tmp_path, tensors, name)))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, -10])
def test_truncated_files_are_refused_by_name(tmp_path, state, name, kept):
    path = Path(saved(tmp_path, state, name))
    content = path.read_bytes()
    end = int(len(content) * kept) if isinstance(kept, float) else kept
    path.write_bytes(content[:end])
    with pytest.raises(CheckpointError, match=name) as caught:
        load_backbone(squeezenet(weights=str(path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gone.safetensors", "gone.pth"])
def test_a_missing_file_is_refused_by_name(tmp_path, name):
    with pytest.raises(CheckpointError, match=name):
        load_backbone(squeezenet(weights=str(tmp_path / name)))


class Executable:
    """What would run code when it is unpickled."""

    def __reduce__(self):
        return sys.exit, (3,)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_that_would_run_code_is_refused(tmp_path, protocol):
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps({"features.0.weight": Executable()}, protocol=protocol))
    with pytest.raises(CheckpointError, match=r"would run code|missing or truncated"):
        load_backbone(squeezenet(weights=str(path)))
    torch.save({"features.0.weight": Executable()}, path)
    with pytest.raises(CheckpointError, match="would run code"):
        load_backbone(squeezenet(weights=str(path)))


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, 5])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="expected a state dict of tensors"):
        read_state(tmp_path / "weights.pt")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder for published weights, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(url, *_, **__):
        message = "<urlopen error no network>"
        raise OSError(message)

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_no_network_is_said_with_file_address_folder_and_remedy(hub):
    with pytest.raises(CheckpointError) as caught:
        load_backbone(BackboneConfig(name="squeezenet", weights="torchvision"))
    message = str(caught.value)
    for part in ("squeezenet1_0-b66bff10.pth", "https://", str(hub), "backbone.weights"):
        assert part in message


def test_a_published_file_with_another_content_is_refused(hub, state):
    torch.save(state, hub / "squeezenet1_0-b66bff10.pth")
    with pytest.raises(CheckpointError, match="expected a SHA-256 that starts with b66bff10"):
        load_backbone(BackboneConfig(name="squeezenet", weights="torchvision"))


def test_a_published_file_is_downloaded_checked_and_loaded(hub, state, monkeypatch):
    class Entry:
        url = "https://example.org/models/net-{}.pth"

    torch.save(state, hub / "source")
    content = (hub / "source").read_bytes()
    Entry.url = Entry.url.format(hashlib.sha256(content).hexdigest()[:8])
    downloads = []

    def fetch(url, target, **_):
        downloads.append(url)
        Path(target).write_bytes(content)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    monkeypatch.setattr(models, "get_model_weights", lambda _: {"IMAGENET1K_V1": Entry})
    config = BackboneConfig(name="squeezenet", weights="torchvision")
    for _ in range(2):
        backbone = load_backbone(config)
        assert torch.equal(backbone.trunk[0].weight, state["features.0.weight"])
        assert backbone.preprocessing == PREPROCESSINGS["torchvision"]
    assert downloads == [Entry.url]


def test_torchvision_has_no_zf5():
    with pytest.raises(ConfigError, match="torchvision publishes no such network"):
        load_backbone(BackboneConfig(name="zf5", weights="torchvision"))


def test_every_published_backbone_names_weights_that_exist():
    for name, build in module.BACKBONES.items():
        published = build().published
        assert (published is None) == (name in {"zf5", "caffenet"})
        if published is not None:
            url = models.get_model_weights(published)["IMAGENET1K_V1"].url
            assert len(Path(url).stem.rsplit("-", 1)[1]) == 8


@pytest.mark.data
@pytest.mark.skipif(not REAL.exists(), reason="the pretrained weights are not beside the checkout")
def test_the_pretrained_squeezenet_is_read():
    backbone = load_backbone(squeezenet(weights=str(REAL), preprocessing="caffe"))
    with torch.no_grad():
        conv5 = backbone(backbone.preprocessing.apply(torch.rand(1, 3, 64, 64) * 255))
    assert conv5.shape[1] == 512
    assert 1 < conv5.mean() < 20
