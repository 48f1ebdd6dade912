import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.classification.views import (
    corner_places,
    cut_out,
    nine_places,
    view_windows,
)
from detection.pretrain_config import ClassifyConfig
from detection.structures import ConvGeometry
from tests.classification.tiny_classifier import picture

ZF5 = ConvGeometry(stride=16, offset=20.0)
TILES = ConvGeometry(stride=16, offset=7.5)


def test_the_ten_views_are_the_centre_and_corners_of_the_whole_picture():
    # An image of 256 x 300: 32 rows and 76 columns are left over.
    assert corner_places((256, 300), 224) == [(16, 38), (0, 0), (0, 76), (32, 0), (32, 76)]


def test_a_crop_as_large_as_the_picture_has_one_place():
    assert set(corner_places((224, 224), 224)) == {(0, 0)}


def test_a_crop_larger_than_the_picture_is_refused():
    with pytest.raises(ValueError, match="at most 200 pixels, got 224"):
        corner_places((200, 300), 224)


def test_nine_places_add_the_middles_of_the_sides():
    places = nine_places((256, 300), 224)
    assert places[:5] == corner_places((256, 300), 224)
    assert places[5:] == [(0, 38), (16, 0), (16, 76), (32, 38)]


def test_a_crop_as_high_as_the_picture_has_three_places():
    assert nine_places((224, 300), 224) == [(0, 38), (0, 0), (0, 76)]
    assert nine_places((300, 224), 224) == [(38, 0), (0, 0), (76, 0)]


@given(st.floats(1, 3))
def test_the_six_scales_have_96_views_of_any_picture(aspect):
    sizes = [(scale, round(aspect * scale)) for scale in ClassifyConfig().scales]
    assert sum(2 * len(nine_places(size, 224)) for size in sizes) == 96


@given(st.integers(10, 60), st.integers(10, 60), st.integers(1, 10))
def test_every_view_lies_inside_the_picture(height, width, crop):
    for top, left in nine_places((height, width), crop):
        assert 0 <= top <= height - crop
        assert 0 <= left <= width - crop


def test_crops_come_first_then_their_mirror_images():
    whole = picture(8, 9)
    crops = cut_out(whole, [(0, 1), (3, 4)], 5, mirrored=True)
    assert torch.equal(crops[1], whole[:, 3:8, 4:9])
    assert torch.equal(crops[3], whole[:, 3:8, 4:9].flip(2))


def test_a_224_view_covers_13_cells_of_zf5_from_its_first_centre_on():
    # Cell i is centred at 20 + 16 i. Between 0 and 223 lie the centres 20 .. 212, cells 0..12;
    # between 32 and 255 the centres 36 .. 244, cells 1..14.
    windows = view_windows([(0, 0), (32, 32)], 224, (256, 256), ZF5, (15, 15))
    assert windows.tolist() == [[0, 0, 13, 13], [1, 1, 15, 15]]


def test_views_on_the_map_of_cells_that_do_not_overlap_are_their_own_cells():
    windows = view_windows([(16, 32), (0, 64)], 64, (96, 128), TILES, (6, 8))
    assert windows.tolist() == [[2, 1, 6, 5], [4, 0, 8, 4]]
