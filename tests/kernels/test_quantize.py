import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detection.kernels.quantize import round_to_bytes


def rounded(values, factor, shift):
    source = np.asarray(values, np.float32)
    target = np.zeros(len(source), np.uint8)
    round_to_bytes(source, np.float32(factor), np.float32(shift), target)
    return target.tolist()


def test_a_half_in_the_shift_turns_cutting_into_rounding():
    values = [0.0, 0.24, 0.26, 0.74, 0.76]
    assert rounded(values, 2, 0.0) == [0, 0, 0, 1, 1]
    assert rounded(values, 2, 0.5) == [0, 0, 1, 1, 2]


def test_what_no_byte_can_hold_becomes_the_nearest_that_can():
    assert rounded([-1e9, -1.0, 0.0, 127.5, 128.0, 1e9], 2, 0.5) == [0, 0, 0, 255, 255, 255]


@given(st.lists(st.floats(-1, 1, width=32), max_size=40), st.integers(0, 255))
def test_a_number_is_off_by_half_a_step_at_most(values, zero):
    factor = 64.0
    for value, byte in zip(values, rounded(values, factor, zero + 0.5), strict=True):
        exact = min(max(value * factor + zero, 0.0), 255.0)
        assert abs(byte - exact) <= 0.5 + 1e-4
