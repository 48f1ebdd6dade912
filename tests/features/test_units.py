"""Where in pool5 a unit is, and what of the image it sees."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from detection.backbones.geometry import field_side
from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.errors import ConfigError
from detection.features.factory import make_extractor
from detection.features.units import (
    Bin,
    UnitLayout,
    columns_of_maps,
    fields,
    input_scale,
    unit_layout,
)
from detection.structures import Image

METHODS = ["sppnet", "rcnn"]
CONFIG = FeatureConfig(scales=(64,), levels=(1, 2, 3), device="cpu", layer="pool5")
BOXES = torch.tensor([[10.0, 20, 60, 45], [0, 0, 90, 64]])


@pytest.fixture(scope="module")
def network():
    return load_backbone(BackboneConfig(name="squeezenet"), to_train=True)


def picture(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image(image_id="x", pixels=pixels)


def bins(levels):
    return [
        Bin(level=n, row=row, column=column)
        for n in levels
        for row in range(n)
        for column in range(n)
    ]


@given(
    channels=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    levels=st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True),
)
def test_every_number_of_the_vector_is_one_unit(channels, levels):
    layout = UnitLayout(channels=tuple(channels), levels=tuple(levels))
    places = torch.cat([layout.units(where) for where in bins(levels)])
    length = sum(channels) * sum(n * n for n in levels)
    assert places.sort().values.tolist() == list(range(length))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("maps", [(), ("10", "12")])
def test_a_vector_is_as_long_as_its_layout(method, maps, network):
    extractor = make_extractor(network, replace(CONFIG, method=method, maps=maps))
    layout = unit_layout(extractor)
    assert sum(layout.channels) * sum(n * n for n in layout.levels) == extractor.feature_dim
    columns = columns_of_maps(extractor)
    assert len(columns) == len(maps)
    assert sum(columns) in {0, extractor.feature_dim}


def test_units_of_sppnet_are_the_bins_of_the_map(network):
    extractor = make_extractor(network, CONFIG)
    image = picture(64, 90)
    whole = torch.tensor([[0.0, 0, 90, 64]])
    (feature_map,) = extractor.encode_image(image)
    vector = extractor.extract(image, whole).expand()[0]
    for where in bins((1, 2, 3)):
        grid = functional.adaptive_max_pool2d(feature_map.values, where.level)
        expected = grid[:, where.row, where.column]
        assert torch.equal(vector[unit_layout(extractor).units(where)], expected)


def test_units_of_rcnn_are_the_cells_of_its_own_pool(network):
    extractor = make_extractor(network, replace(CONFIG, method="rcnn"))
    image = picture(64, 90)
    grid = network.last_pool(
        extractor.network.conv(extractor.warp(extractor.encode_image(image), BOXES[:1]))[0]
    )
    vector = extractor.extract(image, BOXES[:1]).expand()[0]
    where = Bin(level=6, row=4, column=1)
    assert torch.equal(vector[unit_layout(extractor).units(where)], grid[0, :, 4, 1])


def test_the_coarsest_bin_is_in_the_middle():
    assert UnitLayout(channels=(2,), levels=(6, 2, 3)).coarsest == Bin(level=2, row=0, column=0)
    assert UnitLayout(channels=(2,), levels=(6,)).coarsest == Bin(level=6, row=2, column=2)


@pytest.mark.parametrize("wrong", [(4, 0, 0), (2, 2, 0), (2, 0, -1)])
def test_a_bin_that_is_not_there_is_refused(wrong):
    where = Bin(level=wrong[0], row=wrong[1], column=wrong[2])
    with pytest.raises(ConfigError, match="one of the grids 1 x 1, 2 x 2, from 0, got"):
        UnitLayout(channels=(3,), levels=(1, 2)).units(where)


def test_sppnet_sees_an_image_at_the_scale_of_a_box(network):
    extractor = make_extractor(network, replace(CONFIG, scales=(64, 320)))
    factors = input_scale(extractor, (64, 90), BOXES)
    assert factors.tolist() == [[5, 5], [1, 1]]


@pytest.mark.parametrize(
    ("warp", "expected"), [("warp", (195 / 50, 195 / 25)), ("square", (195 / 50, 195 / 50))]
)
def test_rcnn_sees_each_box_at_a_size_of_its_own(warp, expected, network):
    extractor = make_extractor(network, replace(CONFIG, method="rcnn", warp=warp))
    assert input_scale(extractor, (64, 90), BOXES[:1])[0].tolist() == pytest.approx(expected)


def test_rcnn_sees_crops_of_the_configured_side(network):
    config = replace(CONFIG, method="rcnn", maps=("layer3",), crop_size=160)
    extractor = make_extractor(load_backbone(BackboneConfig(name="resnet18_c4")), config)
    expected = pytest.approx((128 / 50, 128 / 25))
    assert input_scale(extractor, (64, 90), BOXES[:1])[0].tolist() == expected


@pytest.mark.parametrize("method", METHODS)
def test_a_field_lies_in_the_image_and_holds_its_part_of_the_box(method, network):
    extractor = make_extractor(network, replace(CONFIG, method=method))
    level = unit_layout(extractor).levels[-1]
    cell = field_side(network.trunk)
    for where in bins((level,)):
        found = fields(extractor, (64, 90), BOXES, where, cell)
        part = (BOXES[:, 2:] - BOXES[:, :2]) / level
        first = BOXES[:, :2] + part * torch.tensor([where.column, where.row])
        assert (found[:, :2] <= first).all()
        assert (found[:, 2:] >= first + part - 1e-4).all()
        assert (found >= 0).all()
        assert (found <= torch.tensor([90, 64, 90, 64])).all()


def test_what_lies_beyond_the_field_changes_nothing(network):
    extractor = make_extractor(network, replace(CONFIG, scales=(400,)))
    image, other = picture(400, 400, seed=1), picture(400, 400, seed=2)
    box, where = torch.tensor([[180.0, 170, 240, 250]]), Bin(level=1, row=0, column=0)
    field = fields(extractor, image.size, box, where, field_side(network.trunk))[0]
    x1, y1, x2, y2 = (int(value) for value in field.tolist())
    assert min(x1, y1) > 0
    assert max(x2, y2) < 400
    pixels = other.pixels.clone()
    pixels[y1 : y2 + 1, x1 : x2 + 1] = image.pixels[y1 : y2 + 1, x1 : x2 + 1]
    changed = Image(image_id="x", pixels=pixels)
    places = unit_layout(extractor).units(where)
    first, second, third = (
        extractor.extract(one, box).expand()[0, places] for one in (image, changed, other)
    )
    assert torch.allclose(first, second, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(first, third, rtol=1e-2)
