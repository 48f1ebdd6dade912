import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.features.projection import input_pixels, project_boxes, windows_of_pixels
from detection.features.scale import resized_size
from detection.structures import ConvGeometry
from tests.reference.projection import (
    paper_range,
    released_range,
    released_scale_of_pixel,
    released_windows,
)

ZF5 = ConvGeometry(stride=16, offset=20.0)
PADDED = ConvGeometry(stride=16, offset=0.0)
RULES = ["paper", "released_code", "fast_rcnn"]


def windows(pixels, geometry, cells, shrink):
    """Project ranges (x1, x2) of 0-based inclusive pixels on one axis."""
    first = torch.tensor([[x1, x1] for x1, _ in pixels], dtype=torch.float64)
    last = torch.tensor([[x2, x2] for _, x2 in pixels], dtype=torch.float64)
    actual = windows_of_pixels(first, last, geometry, (cells, cells), shrink)
    assert torch.equal(actual[:, 0::2], actual[:, 1::2])
    return [tuple(row) for row in actual[:, 0::2].tolist()]


@pytest.mark.parametrize("offset", [0.0, 7.5, 15.0, 17.0, 20.0])
def test_the_released_formula_with_half_a_stride_is_the_paper_rule(offset):
    """All integer ranges of 300 pixels whose first cell is not after their last."""
    geometry = ConvGeometry(stride=16, offset=offset)
    pixels = [(x1, x2) for x1 in range(0, 300, 3) for x2 in range(x1, 300)]
    actual = windows(pixels, geometry, 19, 8.0)
    compared = 0
    for (x1, x2), (low, high) in zip(pixels, actual, strict=True):
        first, last = paper_range(x1, x2, 16, offset)
        released = released_range(x1 + 1, x2 + 1, 19, step=16, offset0=offset + 1, offset=8.0)
        assert (low + 1, high) == released
        if first <= last:
            assert (low, high - 1) == (min(max(first, 0), 18), min(max(last, 0), 18))
            compared += 1
    assert compared > 10_000


@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_the_released_rule_is_the_released_formula(offset):
    geometry = ConvGeometry(stride=16, offset=offset)
    pixels = [(x1, x2) for x1 in range(-40, 300, 3) for x2 in range(x1, 340, 2)]
    expected = [
        released_range(x1 + 1, x2 + 1, 17, step=16, offset0=offset + 1, offset=6.5)
        for x1, x2 in pixels
    ]
    actual = windows(pixels, geometry, 17, 6.5)
    assert [(low + 1, high) for low, high in actual] == expected


@pytest.mark.parametrize(
    ("side", "shrink", "mean"),
    [
        (16, 6.5, 1.125),  # (16 - 1 - 13 + 16) / 16
        (32, 6.5, 2.125),
        (64, 6.5, 4.125),
        (224, 6.5, 14.125),
        (32, 8.0, 1.875),  # (32 - 1 - 16 + 15) / 16
        (64, 8.0, 3.875),
        (224, 8.0, 13.875),
    ],
)
def test_mean_widths_in_cells(side, shrink, mean):
    pixels = [(x, x + side - 1) for x in range(160, 176)]
    actual = windows(pixels, PADDED, 100, shrink)
    assert sum(high - low for low, high in actual) / 16 == mean


def test_a_cell_belongs_to_the_paper_window_if_its_centre_is_inside():
    for x1, x2 in [(0, 100), (4, 52), (20, 37), (21, 300)]:
        centres = [20 + 16 * cell for cell in range(40)]
        inside = [cell for cell, centre in enumerate(centres) if x1 < centre < x2]
        assert windows([(x1, x2)], ZF5, 40, 8.0) == [(inside[0], inside[-1] + 1)]


def test_a_centre_on_the_first_or_last_pixel_is_inside_for_the_release_alone():
    """Pixels 36 to 84 are the centres of cells 1 and 4.

    Paper: floor((36 - 20) / 16) + 1 = 2 to ceil((84 - 20) / 16) - 1 = 3, half a stride inwards.
    Release: floor((16 + 6.5) / 16 + 0.5) = 1 to ceil((64 - 6.5) / 16 - 0.5) = 4.
    """
    box, size = torch.tensor([[36.0, 36, 85, 85]]), (600, 600)
    for rule, window in (("paper", [2, 2, 4, 4]), ("released_code", [1, 1, 5, 5])):
        assert project_boxes(box, size, size, ZF5, (36, 36), rule).tolist() == [window]
    assert project_boxes(box, size, size, ZF5, (36, 36)).tolist() == [[2, 2, 4, 4]]


def test_a_window_too_small_for_a_centre_is_the_cell_in_its_middle():
    # Between the centres of cell 1 (x = 36) and of cell 2 (x = 52).
    assert windows([(38, 45)], ZF5, 10, 8.0) == [(1, 2)]
    assert windows([(36, 36)], ZF5, 10, 8.0) == [(1, 2)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("geometry", [ZF5, PADDED, ConvGeometry(stride=12, offset=14.0)])
@given(
    corner=st.tuples(st.floats(-200, 800), st.floats(-200, 800)),
    side=st.tuples(st.floats(0, 900), st.floats(0, 900)),
    cells=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_every_box_gets_at_least_one_cell_inside_the_map(rule, geometry, corner, side, cells):
    """Boxes of no size, on the border and beyond it included."""
    box = torch.tensor([[*corner, corner[0] + side[0], corner[1] + side[1]]])
    actual = project_boxes(box, (375, 500), (688, 917), geometry, cells, rule)
    x1, y1, x2, y2 = actual[0].tolist()
    assert 0 <= x1 < x2 <= cells[1]
    assert 0 <= y1 < y2 <= cells[0]


@pytest.mark.parametrize("rule", RULES)
def test_the_whole_image_is_the_whole_map_of_zf5(rule):
    whole = torch.tensor([[0.0, 0, 500, 375]])
    # 688 pixels give 42 cells, 917 give 56.
    actual = project_boxes(whole, (375, 500), (688, 917), ZF5, (42, 56), rule)
    assert actual.tolist() == [[0, 0, 56, 42]]


def test_the_paper_scales_edges_and_the_release_scales_pixel_numbers():
    box = torch.tensor([[10.0, 20, 110, 220]])
    first, last = input_pixels(box, (300, 400), (600, 800), "paper")
    assert first.tolist() == [[20, 40]]
    assert last.tolist() == [[219, 439]]
    first, last = input_pixels(box, (300, 400), (600, 800), "released_code")
    assert math.isclose(first[0, 1].item() + 1, released_scale_of_pixel(21, 600, 300))
    assert math.isclose(last[0, 1].item() + 1, released_scale_of_pixel(220, 600, 300))
    # one factor for both axes
    assert math.isclose(first[0, 0].item() + 1, released_scale_of_pixel(11, 600, 300))
    assert math.isclose(last[0, 0].item() + 1, released_scale_of_pixel(110, 600, 300))


@pytest.mark.parametrize("scale", [480, 576, 688, 874, 1200])
@pytest.mark.parametrize("image", [(375, 500), (500, 333), (281, 500), (500, 500), (96, 500)])
def test_windows_of_the_release_on_both_axes(scale, image):
    """Boxes all over the image at the five scales, long axis included: no window differs."""
    height, width = image
    random = torch.Generator().manual_seed(scale)
    corner = torch.rand(400, 2, generator=random) * torch.tensor([width - 2, height - 2])
    other = torch.rand(400, 2, generator=random) * torch.tensor([width - 2, height - 2])
    first, last = torch.minimum(corner, other).floor(), torch.maximum(corner, other).floor() + 1
    boxes = torch.cat((first, last), dim=1)
    size = resized_size(image, scale)
    cells = (size[0] // 16 - 2, size[1] // 16 - 2)
    actual = project_boxes(boxes, image, size, ZF5, cells, "released_code")
    rule = {"step": 16, "offset0": 21, "offset": 6.5}
    expected = [
        released_windows((x1 + 1, y1 + 1, x2, y2), image, scale, cells, **rule)
        for x1, y1, x2, y2 in boxes.int().tolist()
    ]
    assert [(x1 + 1, y1 + 1, x2, y2) for x1, y1, x2, y2 in actual.tolist()] == expected


@pytest.mark.parametrize("rule", RULES)
def test_first_and_last_pixel_stay_first_and_last(rule):
    whole = torch.tensor([[0.0, 0, 400, 300]])
    first, last = input_pixels(whole, (300, 400), (600, 800), rule)
    assert first.tolist() == [[0, 0]]
    # the release's factor is that of the short side, 599 / 299
    long = 399 * 599 / 299 if rule == "released_code" else 799.0
    assert torch.allclose(last, torch.tensor([[long, 599.0]], dtype=torch.float64))


@pytest.mark.parametrize("rule", RULES)
def test_first_and_last_of_two_pixels_stay_first_and_last(rule):
    """The release divides by the side less one, which is 1 here."""
    first, last = input_pixels(torch.tensor([[0.0, 0, 2, 2]]), (2, 2), (64, 64), rule)
    assert (first.tolist(), last.tolist()) == ([[0, 0]], [[63, 63]])
    (second,) = input_pixels(torch.tensor([[1.0, 1, 2, 2]]), (2, 2), (64, 64), rule)[0].tolist()
    assert second == ([63, 63] if rule == "released_code" else [32, 32])


@pytest.mark.parametrize("rule", RULES)
def test_an_image_of_one_pixel_works(rule):
    box = torch.tensor([[0.0, 0, 1, 1]])
    assert project_boxes(box, (1, 1), (64, 64), ZF5, (2, 2), rule).shape == (1, 4)


def test_no_boxes_have_no_windows():
    assert project_boxes(torch.zeros(0, 4), (9, 9), (64, 64), ZF5, (2, 2)).shape == (0, 4)


corners = st.tuples(st.integers(-100, 500), st.integers(-100, 400))
extents = st.tuples(st.integers(1, 500), st.integers(1, 400))
boxes = st.builds(
    lambda corner, extent: [*corner, corner[0] + extent[0], corner[1] + extent[1]], corners, extents
)


def projected(rows, rule, cells=(40, 60), geometry=ZF5):
    actual = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    return project_boxes(actual, (375, 500), (688, 917), geometry, cells, rule)


@pytest.mark.parametrize("rule", RULES)
@given(rows=st.lists(boxes, max_size=8), seed=st.integers(0, 99))
def test_a_window_depends_on_its_own_box_alone(rule, rows, seed):
    together = projected(rows, rule)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    assert torch.equal(projected([rows[row] for row in order], rule), together[order])
    for row, window in zip(rows, together, strict=True):
        assert torch.equal(projected([row], rule)[0], window)


@pytest.mark.parametrize("rule", RULES)
@given(box=boxes, more=st.tuples(*[st.integers(0, 200)] * 4))
def test_a_box_around_another_has_a_window_around_its_window(rule, box, more):
    """At least where the inner box holds a cell's centre; an empty range becomes its middle."""
    grow = torch.tensor([-more[0], -more[1], more[2], more[3]])
    outer = (torch.tensor(box) + grow).tolist()
    inner_window, outer_window = projected([box, outer], rule).tolist()
    sides = [(box[2] - box[0]) * 917 / 500, (box[3] - box[1]) * 688 / 375]
    if min(sides) > 33:  # two strides: the range is not empty
        assert all(
            low <= high for low, high in zip(outer_window[:2], inner_window[:2], strict=True)
        )
        assert all(
            high >= low for high, low in zip(outer_window[2:], inner_window[2:], strict=True)
        )


@pytest.mark.parametrize("rule", RULES)
@given(
    box=st.tuples(*[st.integers(0, 300)] * 2, *[st.integers(1, 200)] * 2),
    shift=st.tuples(st.integers(0, 5), st.integers(0, 5)),
)
def test_a_shift_by_whole_strides_moves_the_window_by_as_many_cells(rule, box, shift):
    """On a map without borders, where no window is cut."""
    row = [box[0] + 160, box[1] + 160, box[0] + box[2] + 160, box[1] + box[3] + 160]
    moved = [row[side] + 16 * shift[side % 2] for side in range(4)]
    size = (2000, 2000)
    actual = project_boxes(
        torch.tensor([row, moved], dtype=torch.float32), size, size, ZF5, (125, 125), rule
    )
    assert (actual[1] - actual[0]).tolist() == [*shift, *shift]


@given(box=st.tuples(*[st.integers(0, 300)] * 2, *[st.integers(40, 200)] * 2))
def test_the_windows_of_the_released_rule_hold_those_of_the_paper(box):
    """Unscaled, its edges move inwards by 6.5 pixels instead of 8."""
    row = torch.tensor([[box[0], box[1], box[0] + box[2], box[1] + box[3]]], dtype=torch.float32)
    paper, released = (
        project_boxes(row, (600, 600), (600, 600), ZF5, (36, 36), rule)[0] for rule in RULES[:2]
    )
    assert (released[:2] <= paper[:2]).all()
    assert (released[2:] >= paper[2:]).all()


@given(
    side=st.integers(1, 300),
    start=st.integers(0, 300),
    offset=st.floats(0, 40),
    stride=st.sampled_from([8, 16, 32]),
)
def test_any_box_has_the_cells_of_the_papers_formula(side, start, offset, stride):
    """One axis; geometry of any network."""
    geometry = ConvGeometry(stride=stride, offset=offset)
    low, high = windows([(start, start + side)], geometry, 200, stride / 2)[0]
    first, last = paper_range(start, start + side, stride, offset)
    if 0 <= first <= last < 200:
        assert (low, high - 1) == (first, last)
    assert high > low


@pytest.mark.parametrize("offset", [0.0, 15.0])
def test_fast_rcnn_takes_each_edge_to_the_nearest_cell(offset):
    geometry = ConvGeometry(stride=16, offset=offset)
    boxes = torch.tensor([[x1, x1, x2, x2] for x1 in range(0, 200, 7) for x2 in range(x1 + 1, 200)])
    size = (208, 208)
    windows = project_boxes(boxes.float(), size, size, geometry, (13, 13), "fast_rcnn")
    for box, window in zip(boxes.tolist(), windows.tolist(), strict=True):
        centres = [abs(cell * 16 + offset - box[0]) for cell in range(13)]
        assert centres[window[0]] <= min(centres) + 1e-9 or window[0] == 0
        centres = [abs(cell * 16 + offset - (box[2] - 1)) for cell in range(13)]
        assert centres[window[2] - 1] <= min(centres) + 1e-9
