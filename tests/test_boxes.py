"""The algebra of boxes: examples by hand, then its laws on any boxes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.boxes import (
    MAX_LOG_SIZE,
    area,
    clip,
    decode_deltas,
    encode_deltas,
    flip,
    intersection,
    iou,
)

whole = st.integers(-50, 150)
sides = st.integers(1, 200)
many = st.integers(0, 6)


def boxes_of(count):
    """Boxes with whole corners and positive sides: float32 computes with them exactly."""
    box = st.tuples(whole, whole, sides, sides).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
    )
    rows = st.lists(box, min_size=count, max_size=count)
    return rows.map(lambda values: torch.tensor(values, dtype=torch.float32).reshape(-1, 4))


any_boxes = many.flatmap(boxes_of)
box_pairs = many.flatmap(lambda count: st.tuples(boxes_of(count), boxes_of(count)))
sizes = st.tuples(st.integers(1, 120), st.integers(1, 90))


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_area_is_width_times_height_and_zero_for_an_inverted_box():
    actual = area(boxes([1, 2, 4, 8], [4, 2, 1, 8], [1, 8, 4, 2], [4, 8, 1, 2], [3, 3, 3, 9]))
    assert actual.tolist() == [3 * 6, 0, 0, 0, 0]


def test_intersection_is_the_shared_area():
    a = boxes([0, 0, 10, 10])
    b = boxes([4, 3, 20, 8], [10, 0, 20, 10], [20, 20, 30, 30], [-5, 20, 30, 30], [0, 0, 10, 10])
    assert intersection(a, b).tolist() == [[6 * 5, 0, 0, 0, 100]]


def test_iou_is_intersection_over_union():
    a, b = boxes([0, 0, 10, 10], [0, 0, 5, 10]), boxes([5, 0, 15, 10], [0, 0, 10, 10], [0, 0, 1, 1])
    expected = [[50 / 150, 1, 1 / 100], [0, 50 / 100, 1 / 50]]
    torch.testing.assert_close(iou(a, b), torch.tensor(expected), rtol=1e-6, atol=0)


def test_iou_of_boxes_without_area_is_zero():
    empty = boxes([3, 3, 3, 9], [5, 5, 5, 5])
    assert iou(empty, empty).tolist() == [[0, 0], [0, 0]]
    assert iou(empty, boxes([0, 0, 10, 10])).tolist() == [[0], [0]]


def test_iou_holds_for_boxes_far_below_a_pixel():
    """Their union is less than the smallest normal float32 times two, and still not 0."""
    side = 2.0**-62
    actual = iou(boxes([0, 0, side, side]), boxes([0, 0, side, side], [0, 0, side, side / 2]))
    assert actual.tolist() == [[1.0, 0.5]]


def test_clip_moves_each_corner_into_the_image():
    actual = clip(boxes([-5, -6, 30, 40], [3, 4, 5, 6], [25, 2, 40, 8], [-9, -9, -1, -1]), (10, 20))
    assert actual.tolist() == [[0, 0, 20, 10], [3, 4, 5, 6], [20, 2, 20, 8], [0, 0, 0, 0]]


def test_boxes_of_every_class_are_clipped_as_each_alone():
    rows = torch.linspace(-30, 60, 3 * 5 * 4).view(3, 5, 4)
    actual = clip(rows, (10, 20))
    assert torch.equal(actual.view(-1, 4), clip(rows.view(-1, 4), (10, 20)))


def test_flip_mirrors_about_the_vertical_axis():
    assert flip(boxes([1, 2, 4, 8]), 10).tolist() == [[10 - 4, 2, 10 - 1, 8]]


def test_deltas_are_shifts_in_units_of_the_box_and_logarithms():
    """Box 10 x 20 with its centre at (5, 10) onto 20 x 10 with its centre at (12, 11)."""
    actual = encode_deltas(boxes([0, 0, 10, 20]), boxes([2, 6, 22, 16]))
    expected = [(12 - 5) / 10, (11 - 10) / 20, math.log(20 / 10), math.log(10 / 20)]
    torch.testing.assert_close(actual, torch.tensor([expected]))


def test_decoding_moves_the_centre_and_multiplies_the_sides():
    """Centre (5, 10) + (0.7 * 10, 0.05 * 20) = (12, 11); sides 10 * 2 and 20 / 2."""
    deltas = torch.tensor([[0.7, 0.05, math.log(2), -math.log(2)]])
    actual = decode_deltas(boxes([0, 0, 10, 20]), deltas)
    torch.testing.assert_close(actual, boxes([12 - 10, 11 - 5, 12 + 10, 11 + 5]))


def test_deltas_between_pixel_centres_are_those_of_the_releases():
    """Inclusive 1-based corners (3, 5) to (12, 24), moved onto (7, 6) to (30, 19)."""
    src_w, src_h, gt_w, gt_h = 12 - 3, 24 - 5, 30 - 7, 19 - 6
    dx = ((7 + 0.5 * gt_w) - (3 + 0.5 * src_w)) / src_w
    dy = ((6 + 0.5 * gt_h) - (5 + 0.5 * src_h)) / src_h
    expected = [dx, dy, math.log(gt_w / src_w), math.log(gt_h / src_h)]
    box, gt = boxes([2, 4, 12, 24]), boxes([6, 5, 30, 19])
    actual = encode_deltas(box, gt, inset=0.5)
    torch.testing.assert_close(actual, torch.tensor([expected]))
    torch.testing.assert_close(decode_deltas(box, actual, inset=0.5), gt)
    torch.testing.assert_close(decode_deltas(box, torch.zeros(1, 4), inset=0.5), box)


def test_a_box_of_one_pixel_has_finite_deltas_between_pixel_centres():
    box = boxes([4, 4, 5, 5])
    assert encode_deltas(box, boxes([0, 0, 10, 10]), inset=0.5).isfinite().all()
    assert decode_deltas(box, torch.ones(1, 4), inset=0.5).isfinite().all()


def test_decoding_bounds_growth_but_not_shrinking():
    """Sides grow 1000 / 16 times at most."""
    assert math.isclose(MAX_LOG_SIZE, math.log(62.5))
    box = boxes([0, 0, 2, 4])
    for deltas in ([0, 0, 100.0, 0], [0, 0, 0, 100.0], [0, 0, 100.0, 100.0]):
        x1, y1, x2, y2 = decode_deltas(box, torch.tensor([deltas]))[0].tolist()
        assert x2 - x1 == pytest.approx(2 * (62.5 if deltas[2] else 1), rel=1e-5)
        assert y2 - y1 == pytest.approx(4 * (62.5 if deltas[3] else 1), rel=1e-5)
    x1, y1, x2, y2 = decode_deltas(box, torch.tensor([[0, 0, -9.0, -9.0]]))[0].tolist()
    assert (x2 - x1, y2 - y1) == pytest.approx((2 * math.exp(-9), 4 * math.exp(-9)), rel=1e-3)


def test_a_delta_for_each_class_is_decoded_with_its_box():
    rows = boxes([0, 0, 10, 20], [5, 5, 7, 9])
    deltas = torch.linspace(-1, 1, 2 * 3 * 4).view(2, 3, 4)
    actual = decode_deltas(rows, deltas)
    assert actual.shape == (2, 3, 4)
    for label in range(3):
        assert torch.equal(actual[:, label], decode_deltas(rows, deltas[:, label]))


@pytest.mark.parametrize("function", [encode_deltas, decode_deltas, iou, intersection])
def test_no_boxes_give_no_rows(function):
    nothing = torch.zeros(0, 4)
    assert len(function(nothing, nothing)) == 0


def test_no_boxes_stay_no_boxes():
    nothing = torch.zeros(0, 4)
    assert area(nothing).shape == (0,)
    assert clip(nothing, (5, 5)).shape == flip(nothing, 5).shape == (0, 4)
    assert decode_deltas(nothing, torch.zeros(0, 3, 4)).shape == (0, 3, 4)


@given(any_boxes, any_boxes)
def test_iou_is_symmetric_and_between_0_and_1(a, b):
    actual = iou(a, b)
    assert torch.equal(actual, iou(b, a).T)
    assert ((actual >= 0) & (actual <= 1)).all()


@given(any_boxes)
def test_iou_of_a_box_with_itself_is_1(rows):
    assert torch.equal(iou(rows, rows).diagonal(), torch.ones(len(rows)))


@given(any_boxes, any_boxes)
def test_intersection_is_no_larger_than_either_box(a, b):
    shared = intersection(a, b)
    assert (shared <= area(a)[:, None]).all()
    assert (shared <= area(b)[None, :]).all()
    assert torch.equal(shared > 0, iou(a, b) > 0)


@given(any_boxes, any_boxes, whole, whole)
def test_iou_does_not_change_when_both_boxes_move(a, b, dx, dy):
    shift = torch.tensor([dx, dy, dx, dy])
    assert torch.equal(iou(a + shift, b + shift), iou(a, b))


@given(any_boxes, sizes)
def test_clipped_boxes_lie_in_the_image_and_clipping_again_changes_nothing(rows, size):
    actual = clip(rows, size)
    assert (actual >= 0).all()
    assert (actual[:, 0::2] <= size[1]).all()
    assert (actual[:, 1::2] <= size[0]).all()
    assert torch.equal(clip(actual, size), actual)


@given(any_boxes, sizes)
def test_clipping_a_box_is_intersecting_it_with_the_image(rows, size):
    image = torch.tensor([[0.0, 0.0, size[1], size[0]]])
    assert torch.equal(area(clip(rows, size)), intersection(rows, image)[:, 0])


@given(any_boxes, st.integers(1, 500))
def test_flipping_twice_changes_nothing_and_once_keeps_the_size(rows, width):
    actual = flip(rows, width)
    assert torch.equal(flip(actual, width), rows)
    assert torch.equal(area(actual), area(rows))
    assert torch.equal(actual[:, 0] + rows[:, 2], torch.full((len(rows),), float(width)))


@given(box_pairs)
def test_decoding_what_was_encoded_gives_the_object(pair):
    rows, gt_boxes = pair
    # A side that grows by more than 62.5 is cut, as tested above.
    fits = ((gt_boxes[:, 2:] - gt_boxes[:, :2]) <= 62 * (rows[:, 2:] - rows[:, :2])).all(dim=1)
    rows, gt_boxes = rows[fits], gt_boxes[fits]
    actual = decode_deltas(rows, encode_deltas(rows, gt_boxes))
    torch.testing.assert_close(actual, gt_boxes, rtol=1e-4, atol=1e-2)


@given(any_boxes)
def test_a_box_encoded_on_itself_is_zero_and_zero_moves_nothing(rows):
    assert torch.equal(encode_deltas(rows, rows), torch.zeros(len(rows), 4))
    assert torch.equal(decode_deltas(rows, torch.zeros(len(rows), 4)), rows)


@given(box_pairs, st.sampled_from([0.5, 2.0, 4.0]))
def test_deltas_do_not_depend_on_the_images_scale(pair, factor):
    rows, gt_boxes = pair
    assert torch.equal(encode_deltas(factor * rows, factor * gt_boxes), encode_deltas(*pair))


@given(box_pairs, st.integers(200, 500))
def test_mirrored_boxes_have_the_mirrored_dx(pair, width):
    rows, gt_boxes = pair
    plain = encode_deltas(rows, gt_boxes)
    mirrored = encode_deltas(flip(rows, width), flip(gt_boxes, width))
    assert torch.equal(mirrored, plain * torch.tensor([-1.0, 1.0, 1.0, 1.0]))
