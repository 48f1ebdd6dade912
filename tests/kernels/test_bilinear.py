"""The loops themselves; the pooling around them is tested in ``features/test_roi_align.py``."""

import numpy as np
import pytest

from detection.kernels.bilinear import BLOCK, sample_bins, spread_bins

pytest.importorskip("numba")


def by_hand(cells, roi, side):
    """Return the weight of each cell in each bin, (side, side, rows, columns), in float64."""
    height, width = cells.shape[:2]
    weights = np.zeros((side, side, height, width))
    x1, y1, x2, y2 = map(float, roi)
    for row in range(2 * side):
        for column in range(2 * side):
            y = np.clip(y1 + (y2 - y1) * (row + 0.5) / (2 * side) - 0.5, 0, height - 1)
            x = np.clip(x1 + (x2 - x1) * (column + 0.5) / (2 * side) - 0.5, 0, width - 1)
            down = np.clip(1 - abs(np.arange(height) - y), 0, 1)
            along = np.clip(1 - abs(np.arange(width) - x), 0, 1)
            weights[row // 2, column // 2] += np.outer(down, along) / 4
    return weights


ROIS = np.array(
    [[0, 0, 7, 5], [0.3, 1.2, 4.9, 4.1], [6, 4, 7, 5], [7, 5, 7, 5], [2, 2, 2, 2], [0, 0, 0, 0]],
    np.float32,
)


@pytest.mark.parametrize("side", [1, 2, 3, 7])
@pytest.mark.parametrize("channels", [1, BLOCK, BLOCK + 3])
def test_bins_and_gradients_are_weighted_sums(side, channels):
    random = np.random.default_rng(0)
    cells = random.standard_normal((5, 7, channels)).astype(np.float32)
    out = np.full((len(ROIS), channels, side * side), 99, np.float32)
    sample_bins(cells, ROIS, side, 0, len(ROIS), out)
    weights = np.stack([by_hand(cells, roi, side) for roi in ROIS])
    expected = np.einsum("rijyx,yxc->rcij", weights, cells.astype(np.float64))
    np.testing.assert_allclose(out, expected.reshape(out.shape), atol=1e-4, rtol=1e-5)

    gradient = random.standard_normal(out.shape).astype(np.float32)
    spread = np.zeros_like(cells)
    spread_bins(gradient, ROIS, side, 0, channels, spread)
    expected = np.einsum("rijyx,rcij->yxc", weights, gradient.reshape(expected.shape))
    np.testing.assert_allclose(spread, expected, atol=1e-4, rtol=1e-5)

    apart = np.zeros_like(cells)
    for begin in reversed(range(0, channels, BLOCK)):
        spread_bins(gradient, ROIS, side, begin, min(begin + BLOCK, channels), apart)
    assert (apart == spread).all()


def test_a_map_of_one_cell_by_hand():
    out = np.empty((1, 1, 4), np.float32)
    sample_bins(np.full((1, 1, 1), 3, np.float32), ROIS[-1:], 2, 0, 1, out)
    assert out.tolist() == [[[3, 3, 3, 3]]]
