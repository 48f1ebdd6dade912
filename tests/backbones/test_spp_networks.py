"""Convnet*-5 and Overfeat against the paper's table of layers."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from detection.backbones.backbone import PREPROCESSINGS
from detection.backbones.geometry import trunk_geometry
from detection.backbones.spp_networks import convnet5, overfeat5, overfeat7
from detection.backbones.weights import load_backbone
from detection.backbones.zf5 import WithinChannelNorm, zf5
from detection.classification.classifier import build_classifier
from detection.config import BackboneConfig, Config
from detection.pretrain_config import PretrainConfig
from tests.reference import spp_networks as reference
from tests.reference import zf5 as zf5_reference

BUILT = {"convnet5": convnet5, "overfeat5": overfeat5, "overfeat7": overfeat7}


def square(value):
    pair = value if isinstance(value, tuple) else (value, value)
    assert pair[0] == pair[1]
    return pair[0]


def printed(trunk, side):
    """The layers of a trunk as Table 1 prints them: one entry for each conv layer."""
    rows, pixels = [], torch.zeros(1, 3, side, side, device="meta")
    for layer in trunk:
        pixels = layer(pixels)
        if isinstance(layer, nn.Conv2d):
            kernel, stride = square(layer.kernel_size), square(layer.stride)
            rows.append([layer.out_channels, kernel, stride, [], 0])
        elif isinstance(layer, nn.MaxPool2d):
            window, step = square(layer.kernel_size), square(layer.stride)
            rows[-1][3].append(f"pool {window}/{step}")
        elif isinstance(layer, WithinChannelNorm):
            rows[-1][3].append("LRN")
        else:
            assert isinstance(layer, nn.ReLU)
        rows[-1][4] = pixels.shape[-1]
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("name", BUILT)
def test_the_layers_are_those_of_table_1(name):
    assert printed(BUILT[name]().trunk, 224) == reference.rows(name)


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("side", [180, 224, 256, 480, 688])
def test_maps_are_as_large_as_the_table_makes_them(name, side):
    assert [row[4] for row in printed(BUILT[name]().trunk, side)] == reference.sides(name, side)


@pytest.mark.parametrize("name", BUILT)
def test_the_pads_make_the_sides_that_the_table_prints(name):
    assert reference.sides(name, 224) == [row[4] for row in reference.rows(name)]


@pytest.mark.parametrize("name", BUILT)
def test_every_conv_layer_is_followed_by_its_relu_and_has_no_groups(name):
    layers = list(BUILT[name]().trunk)
    for layer, after in pairwise(layers):
        if isinstance(layer, nn.Conv2d):
            assert isinstance(after, nn.ReLU)
            assert layer.groups == 1
    assert sum(isinstance(layer, nn.Conv2d) for layer in layers) == int(name[-1])


def test_convnet5_has_the_maps_of_zf5_at_both_training_sizes():
    """SPP §2.3: 13 x 13 at 224 and 10 x 10 at 180."""
    for side, cells in ((224, 13), (180, 10)):
        assert zf5_reference.map_side(side) == cells
        shape = convnet5().trunk(torch.zeros(1, 3, side, side, device="meta")).shape
        assert shape == (1, 256, cells, cells)
    assert trunk_geometry(convnet5().trunk).stride == trunk_geometry(zf5().trunk).stride


@pytest.mark.parametrize(
    ("name", "stride"), [("convnet5", 16), ("overfeat5", 12), ("overfeat7", 12)]
)
def test_the_first_cell_is_where_the_layers_put_it(name, stride):
    """SPP Appendix A: S is 16 of ZF-5's conv5 and 12 of Overfeat's."""
    geometry = trunk_geometry(BUILT[name]().trunk)
    assert (geometry.stride, geometry.offset) == (stride, reference.first_centre(name))


@pytest.mark.parametrize("name", BUILT)
def test_one_pixel_less_than_the_smallest_side_has_no_cell(name):
    spec = BUILT[name]()
    side = spec.min_size
    assert spec.trunk(torch.zeros(1, 3, side, side, device="meta")).shape[-1] == 1
    with pytest.raises(RuntimeError):
        spec.trunk(torch.zeros(1, 3, side - 1, side - 1, device="meta"))


@pytest.mark.parametrize("name", BUILT)
def test_they_take_what_zf5_takes(name):
    backbone = load_backbone(BackboneConfig(name=name), to_train=True)
    assert backbone.preprocessing == PREPROCESSINGS["constant128"]
    assert backbone.fc is None


@pytest.mark.parametrize(("name", "dim"), [("convnet5", 12_800), ("overfeat7", 25_600)])
def test_a_classifier_pools_their_maps_into_fifty_bins(name, dim):
    settings = PretrainConfig(fc_size=8, sizes=(96, 77), short_side=96)
    config = Config(backbone=BackboneConfig(name=name), pretrain=settings)
    model = build_classifier(config, 5)
    assert model.fc.fc6.in_features == dim
    with torch.no_grad():
        for side in settings.sizes:
            assert model(torch.zeros(2, 3, side, side)).shape == (2, 5)


@pytest.mark.parametrize(("name", "dim"), [("convnet5", 36 * 256), ("overfeat5", 36 * 512)])
def test_a_classifier_without_a_pyramid_reads_six_by_six_cells(name, dim):
    settings = PretrainConfig(fc_size=8, head="no_spp")
    config = Config(backbone=BackboneConfig(name=name), pretrain=settings)
    assert build_classifier(config, 5).fc.fc6.in_features == dim


def test_a_state_dict_of_ones_own_brings_its_fc_layers(tmp_path):
    trunk = load_backbone(BackboneConfig(name="overfeat5"), to_train=True).trunk.state_dict()
    tensors = dict(trunk) | {
        "fc6.weight": torch.zeros(4, 25_600),
        "fc6.bias": torch.zeros(4),
        "fc7.weight": torch.zeros(4, 4),
        "fc7.bias": torch.zeros(4),
    }
    torch.save(tensors, tmp_path / "own.pt")
    backbone = load_backbone(BackboneConfig(name="overfeat5", weights=str(tmp_path / "own.pt")))
    assert backbone.fc.fc6.in_features == 25_600
    assert torch.equal(backbone.trunk.conv5.weight, trunk["conv5.weight"])
