import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from detection.report.spp_figure import bins, draw_level, explain_spp, heat
from detection.structures import ConvGeometry, FeatureMap, Image

PHOTOGRAPH = Image(image_id="a", pixels=torch.full((160, 240, 3), 128, dtype=torch.uint8))


def feature_map():
    values = torch.rand(5, 20, 30, generator=torch.Generator().manual_seed(0))
    return FeatureMap(
        values=values,
        image_size=(160, 240),
        input_size=(320, 480),
        geometry=ConvGeometry(stride=16, offset=0.0),
    )


@given(st.integers(1, 40), st.sampled_from([1, 2, 3, 6]))
def test_bins_are_those_of_adaptive_pooling(length, level):
    cells = torch.arange(length, dtype=torch.float32)[None]
    ranges = bins(length, level)
    assert [end - 1 for _, end in ranges] == functional.adaptive_max_pool1d(cells, level)[
        0
    ].tolist()
    assert [-start for start, _ in ranges] == functional.adaptive_max_pool1d(-cells, level)[
        0
    ].tolist()


def test_pictures_have_their_sizes_and_the_vector_its_length():
    picture = explain_spp(PHOTOGRAPH, feature_map(), (40, 40, 160, 120), width=120)
    x1, y1, x2, y2 = picture.window
    # Pixels 80 to 319 of the input: floor(80 / 16) + 1 = 6, ceil(319 / 16) - 1 = 19 inclusive.
    assert (x1, x2) == (6, 20)
    assert 0 <= y1 < y2 <= 20
    assert picture.length == 5 * (1 + 4 + 9 + 36)
    assert [level.level for level in picture.levels] == [1, 2, 3, 6]
    assert picture.feature_map.size == (120, 80)
    assert all(level.cells.size == level.maxima.size == (120, 120) for level in picture.levels)


def test_channel_shown_answers_most_inside_the_window():
    loud = feature_map()
    loud.values[3, 8:12, 10:15] = 50.0
    assert explain_spp(PHOTOGRAPH, loud, (40, 40, 160, 120), width=60).channel == 3


def test_maxima_are_coloured_by_the_largest_cell_of_each_bin():
    cells = np.zeros((4, 4))
    cells[0, 3] = 1.0
    picture = draw_level(cells, 2, 40).maxima
    bright = heat(np.array([[1.0]]), 1).getpixel((0, 0))
    dark = heat(np.array([[0.0]]), 1, top=1.0).getpixel((0, 0))
    got = [picture.getpixel((x, y)) for y in (10, 30) for x in (10, 30)]
    assert got == [dark, bright, dark, dark]


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0, 0, 240, 160), (239, 159, 240, 160)])
def test_smallest_and_largest_boxes_can_be_explained(box):
    assert explain_spp(PHOTOGRAPH, feature_map(), box, width=60).length == 250


def test_silent_map_can_be_explained():
    silent = feature_map()
    silent.values.zero_()
    assert explain_spp(PHOTOGRAPH, silent, (40, 40, 160, 120), width=60).window
