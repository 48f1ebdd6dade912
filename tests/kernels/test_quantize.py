import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.kernels.quantize import round_rows, scale_rows


def rounded(rows):
    source = np.asarray(rows, np.float32)
    target = np.full(source.shape, 77, np.uint8)
    steps, zeros = np.empty(len(source), np.float32), np.empty(len(source), np.float32)
    round_rows(source, 0, target, steps, zeros)
    return target.tolist(), steps.tolist(), zeros.tolist()


def test_a_row_has_all_steps_for_its_own_range():
    values, steps, zeros = rounded([[0.0, 1.0, 25.5], [0.0, 0.01, 0.255]])
    assert values == [[0, 10, 255], [0, 10, 255]]
    assert steps == pytest.approx([0.1, 0.001])
    assert zeros == [0, 0]


def test_zero_is_a_whole_step_of_a_row_with_negative_numbers():
    values, steps, zeros = rounded([[-5.1, 0.0, 20.4], [-255.0, -1.0, -0.4]])
    assert values == [[0, 51, 255], [0, 254, 255]]
    assert steps == pytest.approx([0.1, 1.0])
    assert zeros == [51, 255]


def test_a_number_is_rounded_to_the_nearest_step():
    assert rounded([[255.0, 0.49, 0.51, 1.49, 1.51]])[0] == [[255, 0, 1, 1, 2]]


def test_a_row_of_zeros_stays_one():
    assert rounded([[0.0, 0.0], [-0.0, 0.0]])[0] == [[0, 0], [0, 0]]


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_has_no_step(value):
    values, steps, _ = rounded([[1.0, value, 2.0], [0.0, 1.0, 255.0]])
    assert np.isnan(steps[0])
    assert steps[1] == 1
    assert values == [[0, 0, 0], [0, 1, 255]]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40))
def test_a_number_is_off_by_half_a_step_at_most(row):
    values, (step,), (zero,) = rounded([row])
    back = step * (np.array(values[0], np.float64) - zero)
    assert np.abs(back - row).max() <= step * 0.5001 + 1e-9


def test_sums_become_what_they_stand_for():
    sums = np.array([[10, -10], [4, 100]], np.float32)
    steps, zeros = np.array([0.5, 2], np.float32), np.array([1, 0], np.float32)
    scale, weights = np.array([1, 2], np.float32), np.array([4, 2], np.float32)
    bias = np.array([0.25, -0.25], np.float32)
    scale_rows(sums, steps, zeros, scale, weights, bias[None], np.float32(0))
    assert sums.tolist() == [[(10 - 4) * 0.5 + 0.25, 0.0], [8.25, 100 * 4 - 0.25]]


def test_what_is_not_a_number_is_no_zero_after_the_relu():
    sums = np.ones((1, 1), np.float32)
    one = np.ones(1, np.float32)
    scale_rows(sums, np.float32(np.nan) * one, one, one, one, one[None], np.float32(0))
    assert np.isnan(sums[0, 0])


def test_columns_of_a_row_have_a_range_of_their_own():
    source = np.array([[1000.0, 0.0, 1.0, 255.0, -70.0]], np.float32)
    target, steps, zeros = np.zeros((1, 3), np.uint8), np.zeros(1, np.float32), np.ones(1)
    round_rows(source, 1, target, steps, zeros.astype(np.float32))
    assert target.tolist() == [[0, 1, 255]]
    assert steps.tolist() == [1]


def test_sums_are_added_to_those_before_row_by_row():
    sums = np.array([[1.0], [2.0]], np.float32)
    one, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
    before = np.array([[10.0], [-20.0]], np.float32)
    scale_rows(sums, one, zeros, one[:1], zeros[:1], before, np.float32(0))
    assert sums.tolist() == [[11.0], [0.0]]
