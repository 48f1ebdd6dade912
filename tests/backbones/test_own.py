from dataclasses import replace

import pytest
import torch
from torch import nn

from detection.backbones.backbone import PREPROCESSINGS
from detection.backbones.own import (
    Trunk,
    as_trunk,
    describe_own,
    own_backbone,
    own_config,
    sha256_of_weights,
)
from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig
from detection.errors import CheckpointError, ConfigError
from detection.structures import ConvGeometry


class Net(nn.Module):
    """Conv layers of stride 2, 2 and 2 with a branch."""

    def __init__(self, channels=8):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.down = nn.Conv2d(4, channels, 5, stride=2, padding=2)
        self.branch = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, inputs):
        values = torch.relu(self.down(torch.relu(self.norm(self.stem(inputs)))))
        values = nn.functional.max_pool2d(values + self.branch(values), 1)
        return self.pooled(values)

    def pooled(self, values):
        return values


class Pooled(Net):
    """One of its strides is no module."""

    def pooled(self, values):
        return nn.functional.max_pool2d(values, 2)


CONFIG = BackboneConfig(name="own/Net", weights="given")


def test_stride_and_offset_are_read_off_the_layers():
    """Centres: 3 wide with padding 1 and 5 wide with padding 2 keep the first cell at pixel 0."""
    backbone = own_backbone(Net(), CONFIG)
    assert backbone.geometry == ConvGeometry(stride=4, offset=0.0)
    assert (backbone.channels, backbone.min_size, backbone.grid) == (8, 16, 7)
    assert backbone(torch.zeros(1, 3, 32, 48)).shape == (1, 8, 8, 12)


def test_the_given_module_stays_as_it_is():
    module = Net().train().double()
    weight = module.stem.weight
    backbone = own_backbone(module, CONFIG)
    assert module.training
    assert weight.requires_grad
    assert weight.dtype == torch.float64
    assert not any(p.requires_grad for p in backbone.parameters())
    assert backbone.trunk.stem.weight.dtype == torch.float32
    assert not backbone.training


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (nn.Sequential(Net(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), r"got the shape \(1, 8\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), "224 x 224 pixels, got mat1 and mat2"),
        (nn.Identity(), "expected a network with weights"),
        (Pooled(), r"a cell for every 4 pixels.*got 4 x 8 cells for 8 x 16"),
        (nn.LSTM(224, 3), "expected a map"),
    ],
)
def test_what_returns_no_map_is_refused(module, match):
    with pytest.raises(ConfigError, match=match):
        own_backbone(module, CONFIG)


def test_weights_that_are_not_finite_are_refused():
    module = Net()
    module.stem.bias.data[0] = float("nan")
    with pytest.raises(ConfigError, match=r"finite weights.*own/Net: stem\.bias"):
        own_backbone(module, CONFIG)


def test_a_geometry_that_no_layer_shows_is_given():
    geometry = ConvGeometry(stride=8, offset=2.0)
    backbone = own_backbone(Trunk(module=Pooled(), geometry=geometry), CONFIG)
    assert backbone.geometry == geometry
    with pytest.raises(ConfigError, match="a cell for every 16 pixels"):
        own_backbone(Trunk(module=Pooled(), geometry=replace(geometry, stride=16)), CONFIG)


def test_the_preprocessing_is_the_trunks_else_the_configured_one_else_torchvisions():
    half = PREPROCESSINGS["half"]
    assert own_backbone(Net(), CONFIG).preprocessing == PREPROCESSINGS["torchvision"]
    caffe = replace(CONFIG, preprocessing="caffe")
    assert own_backbone(Net(), caffe).preprocessing == PREPROCESSINGS["caffe"]
    assert own_backbone(Trunk(module=Net(), preprocessing=half), caffe).preprocessing == half


def test_a_backbone_of_the_package_keeps_what_is_known_of_it():
    built = load_backbone(BackboneConfig(name="zf5"), to_train=True)
    known = as_trunk(built)
    backbone = own_backbone(built, own_config(BackboneConfig(), built))
    assert known.module is built.trunk
    assert backbone.name == "own/Sequential"
    assert backbone.preprocessing == PREPROCESSINGS["constant128"]
    for name in ("geometry", "channels", "crop_size", "grid", "min_size"):
        assert getattr(backbone, name) == getattr(built, name)


def test_the_configuration_names_it_as_one_that_cannot_be_built():
    config = own_config(BackboneConfig(name="squeezenet", weights="torchvision"), Net())
    assert (config.name, config.weights) == ("own/Net", "given")
    with pytest.raises(ConfigError, match=r"got own/Net, which was given in Python; give it again"):
        load_backbone(config)


def test_stored_weights_are_filled_in():
    stored = own_backbone(Net(), CONFIG).state_dict()
    other = own_backbone(Net(), CONFIG, stored)
    assert all(tensor.equal(stored[name]) for name, tensor in other.state_dict().items())
    with pytest.raises(CheckpointError, match=r"expected the weights of own/Net.*shapes"):
        own_backbone(Net(channels=6), CONFIG, stored)


def test_the_hash_is_that_of_the_weights():
    first, second = Net(), Net()
    assert sha256_of_weights(first) != sha256_of_weights(second)
    second.load_state_dict(first.state_dict())
    assert sha256_of_weights(first) == sha256_of_weights(second)
    second.norm.running_mean[0] = 0.5
    assert sha256_of_weights(first) != sha256_of_weights(second)


def test_its_description_is_plain_and_names_what_must_be_the_same():
    described = describe_own(own_backbone(Net(), CONFIG))
    assert described == {
        "channels": 8,
        "stride": 4,
        "offset": 0.0,
        "crop_size": 224,
        "grid": 7,
        "min_size": 16,
        "order": "rgb",
        "scale": 255.0,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
