from collections import OrderedDict

import pytest
import torch
from torch import nn

from detection.backbones.geometry import (
    field_side,
    stage_channels,
    stage_geometries,
    trunk_geometry,
)
from detection.backbones.published import alexnet
from detection.backbones.weights import BACKBONES, load_backbone
from detection.backbones.zf5 import zf5
from detection.config import BackboneConfig
from detection.errors import ConfigError
from tests.backbones.fields import check_field
from tests.reference import zf5 as reference

GEOMETRY = {
    "zf5": (16, 20.0),
    "convnet5": (16, 15.0),
    "overfeat5": (12, 8.0),
    "overfeat7": (12, 8.0),
    "caffenet": (16, 17.0),
    "alexnet": (16, 15.0),
    "vgg16": (16, 7.5),
    "squeezenet": (16, 17.0),
    "resnet18_c4": (16, 0.0),
    "resnet50_c4": (16, 0.0),
    "efficientnet_lite0": (16, 15.0),
    "efficientnet_lite1": (16, 15.0),
    "efficientnet_lite2": (16, 15.0),
}
SIDES = {"resnet50_c4": 560, **dict.fromkeys((f"efficientnet_lite{n}" for n in range(3)), 1300)}
"""Of images that hold the field of a cell in the middle, where 400 pixels do not."""


@pytest.mark.parametrize("name", BACKBONES)
def test_stride_and_offset_are_those_of_an_impulse(name):
    trunk = BACKBONES[name]().trunk
    geometry = trunk_geometry(trunk)
    assert (geometry.stride, geometry.offset) == GEOMETRY[name]
    deep = name.startswith("efficientnet")
    side = check_field(trunk, geometry, SIDES.get(name, 400), narrow=deep)
    assert field_side(trunk) == side


def test_the_field_of_pool5_is_that_of_the_paper():
    """RC §3.1: 195 x 195 pixels of the 227 x 227 of a crop."""
    spec = alexnet()
    assert field_side(nn.Sequential(*spec.trunk, spec.last_pool), size=227) == 195


@pytest.mark.parametrize(("side", "cells"), [(224, 13), (180, 10), (688, 42)])
def test_zf5_maps_are_as_large_as_in_the_paper(side, cells):
    assert reference.map_side(side) == cells
    blueprint = zf5()
    assert blueprint.trunk(torch.zeros(1, 3, side, side, device="meta")).shape[2:] == (cells, cells)


@pytest.mark.parametrize(("side", "cells"), [(480, 29), (576, 35), (688, 42), (864, 53), (874, 53)])
def test_zf5_maps_at_the_five_scales(side, cells):
    """The release's 874 gives as many cells as the paper's 864."""
    assert reference.map_side(side) == cells
    pixels = torch.zeros(1, 3, side, 64, device="meta")
    assert zf5().trunk(pixels).shape[2] == cells


def test_the_first_cell_of_zf5_is_centred_on_pixel_20():
    assert reference.first_centre() == 20
    assert trunk_geometry(zf5().trunk).offset == 20


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("size", [160, 227, 300])
def test_the_size_of_the_image_that_is_followed_does_not_matter(name, size):
    trunk = BACKBONES[name]().trunk
    assert trunk_geometry(trunk, size=size) == trunk_geometry(trunk)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_smallest_image_gives_a_cell_and_crops_give_the_grid(name):
    blueprint = BACKBONES[name]()
    smallest = torch.zeros(1, 3, blueprint.min_size, blueprint.min_size, device="meta")
    assert blueprint.trunk(smallest).numel() >= blueprint.channels
    crop = torch.zeros(1, 3, blueprint.crop_size, blueprint.crop_size, device="meta")
    pooled = blueprint.last_pool(blueprint.trunk(crop))
    assert pooled.shape == (1, blueprint.channels, blueprint.grid, blueprint.grid)


def test_a_training_network_is_left_in_training():
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1)).train()
    assert trunk_geometry(trunk).stride == 2
    assert trunk.training


def test_layers_behind_the_map_are_left_out():
    class Ahead(nn.Module):
        def __init__(self):
            super().__init__()
            self.kept = nn.Conv2d(3, 4, 4, stride=4)
            self.unused = nn.Conv2d(4, 4, 3, stride=2, padding=1)

        def forward(self, x):
            x = self.kept(x)
            self.unused(x)
            return x

    geometry = trunk_geometry(Ahead())
    assert (geometry.stride, geometry.offset) == (4, 1.5)


def test_padding_that_depends_on_the_image_is_refused():
    class Same(nn.Conv2d):
        def forward(self, x):
            return super().forward(nn.functional.pad(x, (0, 1, 0, 1)))

    with pytest.raises(ConfigError, match="expected layers with a fixed padding"):
        trunk_geometry(nn.Sequential(Same(3, 4, 3, stride=2)), size=32)


def test_different_strides_of_rows_and_columns_are_refused():
    with pytest.raises(ConfigError, match="the same stride on both axes"):
        trunk_geometry(nn.Sequential(nn.Conv2d(3, 4, 3, stride=(1, 2))))


def test_padding_by_name_is_refused():
    with pytest.raises(ConfigError, match="the same padding on both axes"):
        trunk_geometry(nn.Sequential(nn.Conv2d(3, 4, 3, padding="same")))


@pytest.mark.parametrize(
    ("name", "offset"), [("test_convnext", 7.5), ("mobilenetv3_small_050", 0.0)]
)
def test_geometry_of_timm_networks(name, offset):
    pytest.importorskip("timm")
    backbone = load_backbone(BackboneConfig(name=f"timm/{name}"))
    assert (backbone.geometry.stride, backbone.geometry.offset) == (16, offset)


def test_padding_before_a_layer_is_read_like_its_own():
    own = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2, padding=2))
    before = nn.Sequential(nn.ZeroPad2d(2), nn.Conv2d(3, 4, 5, stride=2))
    assert trunk_geometry(before) == trunk_geometry(own)


def test_a_dilated_layer_reaches_as_far_as_its_outermost_weights():
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=4))
    assert trunk_geometry(trunk).offset == (9 - 1) / 2 - 1


def test_padding_behind_the_last_cell_moves_nothing():
    trunk = nn.Sequential(nn.ZeroPad2d((1, 3, 1, 3)), nn.Conv2d(3, 4, 5, stride=2))
    assert trunk_geometry(trunk).offset == 2 - 1


def test_different_padding_of_rows_and_columns_is_refused():
    with pytest.raises(ConfigError, match="the same padding on both axes"):
        trunk_geometry(nn.Sequential(nn.ZeroPad2d((1, 0, 0, 1)), nn.Conv2d(3, 4, 3)))


def staged():
    """Two stages of strides 2 and 3, in evaluation mode."""
    stages = OrderedDict(
        first=nn.Conv2d(3, 4, 3, stride=2, padding=1),
        second=nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 5, 5, stride=3, padding=1)),
    )
    return nn.Sequential(stages).eval()


def test_each_stage_has_a_geometry_and_channels_of_its_own():
    geometries = stage_geometries(staged(), ("first", "second"))
    assert (geometries["first"].stride, geometries["first"].offset) == (2, 0)
    assert (geometries["second"].stride, geometries["second"].offset) == (6, 2 * (2 - 1))
    assert stage_channels(staged(), ("second", "first")) == {"second": 5, "first": 4}


def test_following_the_first_stages_leaves_every_module_in_its_mode():
    """A slice of a trunk is a new module, in training, around the modules of the trunk."""
    trunk = staged()
    trunk.second[0].train()
    before = [module.training for module in trunk.modules()]
    stage_geometries(trunk, ("first", "second"))
    stage_channels(trunk, ("first", "second"))
    assert [module.training for module in trunk.modules()] == before


@pytest.mark.parametrize("describe", [stage_geometries, stage_channels])
def test_a_stage_that_is_not_there_is_named(describe):
    with pytest.raises(ConfigError, match="expected some of first, second, got third"):
        describe(staged(), ("first", "third"))
