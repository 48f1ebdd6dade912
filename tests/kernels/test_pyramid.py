"""The loops themselves; the ways of pooling are compared in ``features/test_pyramid.py``."""

import numpy as np
import pytest

from detection.kernels.pyramid import (
    PADDING,
    SPREAD,
    fill_bins,
    make_keys,
    merge_bins,
    pool_keys,
    pool_windows,
    split_keys,
    spread_gradient,
)

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


@pytest.mark.parametrize(("signed", "wide"), [(np.int16, np.int32), (np.int32, np.int64)])
def test_keys_are_in_the_order_of_values_and_of_equal_ones_the_first_cell_is_the_largest(
    signed, wide
):
    """-0.0 equals 0.0; and from a key come the value and the cell again."""
    values = np.array([-np.inf, -2.0, -0.5, -0.0, 0.0, 0.0, 0.5, 3.0, np.inf], np.float32)
    bits = values.view(np.int32)
    if signed is np.int16:
        bits = (bits >> 16).astype(np.int16)
    keys = np.zeros((len(bits), 1), wide)
    make_keys(bits[:, None], 0, len(bits), keys)
    assert np.argsort(keys[:, 0]).tolist() == [0, 1, 2, 5, 4, 3, 6, 7, 8]

    places = np.zeros((len(bits), 1), np.int32)
    split_keys(keys, len(bits), 1, places)
    assert (keys[:, 0].astype(np.int32).view(np.float32) == values).all()
    assert places[:, 0].tolist() == list(range(len(bits)))


PLAN = np.array([[2, -1, 0, 0], [1, 0, 4, 2]])
PIECES = np.array([[4, 1], [0, 4]])


def test_each_bin_remembers_the_first_of_its_largest_cells():
    """Bins of two cells that share the middle one; the whole window is merged from them."""
    values = np.array([[1, 5, 5], [0, 5, 2], [7, 1, 7]], np.float32)
    keys = np.zeros((9, 1), np.int64)
    make_keys(values.reshape(9, 1).view(np.int32), 0, 9, keys)
    out, places = np.zeros((2, 5), np.int32), np.full((2, 5, 1), 99, np.int32)
    windows = np.array([[0, 0, 3, 3], [0, 0, 3, 3]])
    pool_keys(keys.reshape(3, 3, 1), windows, PLAN, PIECES, 1, 2, False, (out, places))
    assert out[1].view(np.float32).tolist() == [7, 5, 5, 7, 7]
    assert places[1, :, 0].tolist() == [1, 1, 6, 8, 6]
    assert places[0, :, 0].tolist() == [99] * 5


@pytest.mark.parametrize("bin_major", [False, True])
def test_a_gradient_is_added_where_the_value_came_from(bin_major):
    """Channel 0 of both windows and all bins comes from cell 2, channel 1 from cell 0."""
    channels = SPREAD + 1
    places = np.zeros((2, 5, channels), np.int32)
    places[:, :, 0] = 2
    gradient = np.zeros((2, 5 * channels), np.float32)
    level1, level2 = gradient[:, :channels], gradient[:, channels:]
    bins = level2.reshape(2, 4, channels) if bin_major else level2.reshape(2, channels, 4)
    level1[:, :2] = [[1, 2], [3, 4]]
    by_channel = bins.transpose(0, 2, 1) if bin_major else bins
    by_channel[:, 0] = [[10, 20, 30, 40], [50, 60, 70, 80]]
    by_channel[:, SPREAD] = 1
    gradient[:, channels:] = bins.reshape(2, -1)
    out = np.full((3, channels), 99, np.float32)
    spread_gradient(gradient, places, PIECES, bin_major, 0, channels, out)
    assert out[:, 0].tolist() == [0, 0, 1 + 3 + 360]
    assert out[:, 1].tolist() == [2 + 4, 0, 0]
    assert out[:, SPREAD].tolist() == [8, 0, 0]
    assert not out[:, 2:SPREAD].any()
