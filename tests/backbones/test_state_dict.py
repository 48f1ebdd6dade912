import pytest
import torch
from torchvision import models

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig
from detection.errors import CheckpointError
from tests.backbones.saved import saved, squeezenet


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
