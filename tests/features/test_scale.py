import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.features.scale import choose_scale, resized_size
from tests.reference.projection import paper_scale_index, released_scale_index

FIVE = (480, 576, 688, 864, 1200)
REFERENCES = {"paper": paper_scale_index, "released_code": released_scale_index}


def test_the_short_side_becomes_the_scale():
    assert resized_size((375, 500), 688) == (688, 917)  # 500 * 688 / 375 = 917.3
    assert resized_size((500, 375), 688) == (917, 688)
    assert resized_size((300, 300), 480) == (480, 480)


def test_the_long_side_is_capped():
    assert resized_size((375, 500), 1200, 1000) == (750, 1000)
    assert resized_size((375, 500), 688, 2000) == (688, 917)


def test_a_strip_is_not_blown_up_without_limit():
    assert resized_size((1, 500), 688, min_size=32) == (32, 5504)
    assert resized_size((500, 1), 688, min_size=32) == (5504, 32)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (31, 31), (1, 500)])
def test_no_side_is_shorter_than_the_network_accepts(size):
    assert min(resized_size(size, 40, min_size=64)) >= 64


@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    short_side=st.integers(32, 1200),
    cap=st.sampled_from([0, 400, 2000]),
)
def test_sizes_keep_their_limits(height, width, short_side, cap):
    new = resized_size((height, width), short_side, cap, min_size=32)
    assert min(new) <= max(short_side, 32)
    assert max(new) <= max(cap or 8 * short_side, 32)
    assert (new[0] - new[1]) * (height - width) >= 0


@pytest.mark.parametrize("rule", ["paper", "released_code"])
@given(
    x=st.integers(0, 400),
    y=st.integers(0, 300),
    width=st.integers(1, 500),
    height=st.integers(1, 375),
    image=st.tuples(st.integers(50, 800), st.integers(50, 800)),
)
def test_the_scale_is_the_one_of_a_plain_loop(rule, x, y, width, height, image):
    box = torch.tensor([[x, y, x + width, y + height]], dtype=torch.float32)
    plain = (x, y, x + width, y + height)
    if rule == "released_code":
        plain = (x + 1, y + 1, x + width, y + height)  # 1-based inclusive
    expected = REFERENCES[rule](plain, min(image), list(FIVE))
    assert choose_scale(box, image, FIVE, rule).tolist() == [expected]


@pytest.mark.parametrize("rule", ["paper", "released_code"])
@given(sides=st.lists(st.integers(1, 1000), min_size=2, max_size=20))
def test_a_larger_box_never_gets_a_larger_scale(rule, sides):
    sides = sorted(sides)
    boxes = torch.tensor([[0, 0, side, side] for side in sides], dtype=torch.float32)
    chosen = choose_scale(boxes, (400, 500), FIVE, rule).tolist()
    assert chosen == sorted(chosen, reverse=True)


def test_a_box_of_training_size_at_a_scale_takes_that_scale():
    boxes = torch.tensor([[0.0, 0, 224, 224]])
    for index, scale in enumerate(FIVE):
        assert choose_scale(boxes, (scale, scale + 100), FIVE).tolist() == [index]


def test_ties_go_to_the_first_scale():
    box = torch.tensor([[0.0, 0, 10, 10]])
    assert choose_scale(box, (100, 100), (600, 600)).tolist() == [0]
    # 208 * 100 / 32 = 650 lies half way.
    box = torch.tensor([[0.0, 0, 32, 32]])
    assert choose_scale(box, (100, 100), (600, 700), "released_code").tolist() == [0]


@pytest.mark.parametrize("rule", ["paper", "released_code"])
def test_an_empty_box_takes_the_largest_scale(rule):
    assert choose_scale(torch.zeros(1, 4), (100, 100), FIVE, rule).tolist() == [4]


def test_no_boxes_have_no_scales():
    assert choose_scale(torch.zeros(0, 4), (100, 100), FIVE).shape == (0,)
