import pytest
import torch

from detection.backbones.caffenet import caffenet
from detection.backbones.geometry import trunk_geometry
from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig
from tests.reference import caffenet as reference


@pytest.fixture(scope="module")
def trunk():
    return load_backbone(BackboneConfig(name="caffenet"), to_train=True).trunk


@pytest.mark.parametrize(("side", "cells"), [(227, 13), (224, 13), (480, 29), (688, 42)])
def test_maps_are_as_large_as_caffes(side, cells):
    assert reference.map_side(side) == cells
    assert caffenet().trunk(torch.zeros(1, 3, side, side, device="meta")).shape[2:] == (cells,) * 2


def test_the_first_cell_is_centred_on_pixel_17():
    assert reference.first_centre() == 17
    assert trunk_geometry(caffenet().trunk).offset == 17


def test_the_norm_is_caffes_across_channels(trunk):
    x = 128 * torch.randn(9, 4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(trunk.norm1(x[None])[0], reference.across_channels_norm(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv1", (96, 3, 11, 11)),
        ("conv2", (256, 48, 5, 5)),
        ("conv3", (384, 256, 3, 3)),
        ("conv4", (384, 192, 3, 3)),
        ("conv5", (256, 192, 3, 3)),
    ],
)
def test_filters_are_those_of_the_release(trunk, name, shape):
    assert tuple(trunk.get_submodule(name).weight.shape) == shape


def test_conv2_sees_its_own_half_of_the_channels(trunk):
    x = torch.randn(96, 3, 4, generator=torch.Generator().manual_seed(1))
    layer = trunk.conv2
    with torch.no_grad():
        expected = reference.grouped_conv(x, layer.weight, layer.bias, 2)
        assert torch.allclose(layer(x[None])[0], expected, atol=1e-4)


def test_each_layer_is_pooled_and_then_normalised():
    names = [name for name, _ in caffenet().trunk.named_children()]
    assert names[:4] == ["conv1", "relu1", "pool1", "norm1"]
    assert names[4:8] == ["conv2", "relu2", "pool2", "norm2"]
