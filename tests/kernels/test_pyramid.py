"""The loops themselves; the ways of pooling are compared in ``features/test_pyramid.py``."""

import numpy as np
import pytest

from detection.kernels.pyramid import PADDING, fill_bins, merge_bins, pool_windows

pytest.importorskip("numba")

# 4 x 4 cells of one channel, and of a second one that is its negative.
MAP = np.arange(16, dtype=np.int32).reshape(4, 4)
CELLS = np.stack([MAP, -MAP], axis=-1)


def block(bins, dtype=np.int32):
    return np.zeros((bins, 2 + PADDING), dtype)


@pytest.mark.parametrize(
    ("corner", "size", "side", "expected"),
    [
        ((0, 0), (4, 4), 1, [15]),
        ((0, 0), (4, 4), 2, [5, 7, 13, 15]),
        ((1, 2), (1, 1), 1, [9]),
        ((0, 0), (3, 3), 2, [5, 6, 9, 10]),  # bins of two cells that share the middle one
        ((1, 1), (1, 2), 2, [5, 5, 9, 9]),
        ((0, 0), (3, 1), 1, [2]),
    ],
)
def test_bins_of_a_window_by_hand(corner, size, side, expected):
    bins = block(side * side)
    fill_bins(CELLS, corner, size, side, bins, 0, 2)
    assert bins[:, 0].tolist() == expected
    x, y = corner
    least = -MAP[y : y + size[1], x : x + size[0]].min()
    assert bins[:, 1].max() == least


def test_a_coarser_bin_is_the_maximum_of_the_finer_ones_in_it():
    bins = block(16 + 4)
    bins[:16, :2] = CELLS.reshape(16, 2)
    merge_bins(bins, 0, 4, 2, 16, 2)
    assert bins[16:, 0].tolist() == [5, 7, 13, 15]
    assert bins[16:, 1].tolist() == [0, -2, -8, -10]


@pytest.mark.parametrize("bin_major", [False, True])
@pytest.mark.parametrize(("dtype", "factor"), [(np.int32, 1), (np.int16, 1 << 16)])
def test_levels_stand_in_the_order_that_is_asked_for(bin_major, dtype, factor):
    """Level 1, merged from level 2, comes first; of 16 bits the number is the upper half."""
    plan = np.array([[2, -1, 0, 0], [1, 0, 4, 2]])
    pieces = np.array([[4, 1], [0, 4]])
    windows = np.array([[0, 0, 4, 4], [2, 2, 4, 4]])
    out = np.full((2, 10), 99, np.int32)
    pool_windows(CELLS.astype(dtype), windows, plan, pieces, 1, 2, bin_major, out)
    assert out[0].tolist() == [99] * 10  # not among the windows that were asked for
    by_bin = [15, -10, 10, -10, 11, -11, 14, -14, 15, -15]
    by_channel = [15, -10, 10, 11, 14, 15, -10, -11, -14, -15]
    expected = by_bin if bin_major else by_channel
    assert out[1].tolist() == [value * factor for value in expected]
