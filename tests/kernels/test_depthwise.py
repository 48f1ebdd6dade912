"""The loop itself; the convolution around it is tested in ``training/test_depthwise.py``."""

import numpy as np
import pytest

from detection.kernels.depthwise import BLOCK, weight_gradient

pytest.importorskip("numba")


def by_hand(x, gradient, side, dilation, padding):
    """Sum, for each weight, the products of what it met and the gradient of what it made."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    rows, columns = gradient.shape[1:3]
    parts = []
    for i in range(0, side * dilation, dilation):
        for j in range(0, side * dilation, dilation):
            met = padded[:, i : i + rows, j : j + columns]
            parts.append((met * gradient).sum(axis=(1, 2)))
    return np.stack(parts, axis=1)


def test_one_image_of_two_cells_by_hand():
    """The weight in the middle meets both cells, its neighbours one each, those above none."""
    x = np.array([2.0, 3.0], np.float32).reshape(1, 1, 2, 1)
    gradient = np.array([5.0, 7.0], np.float32).reshape(1, 1, 2, 1)
    out = np.full((1, 9, 1), 99, np.float32)
    weight_gradient(x, gradient, (3, 1, 1), 0, 1, out)
    assert out[0, :, 0].tolist() == [0, 0, 0, 2 * 7, 2 * 5 + 3 * 7, 3 * 5, 0, 0, 0]


@pytest.mark.parametrize("channels", [1, BLOCK - 1, BLOCK, BLOCK + 3])
@pytest.mark.parametrize(
    "shape", [(3, 1, 1), (3, 2, 2), (5, 2, 4), (5, 1, 0), (3, 3, 1), (1, 1, 0)]
)
def test_the_gradient_is_the_sum_of_products(channels, shape):
    side, dilation, padding = shape
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 11, 9, channels)).astype(np.float32)
    less = dilation * (side - 1) - 2 * padding
    size = (2, 11 - less, 9 - less, channels)
    gradient = random.standard_normal(size).astype(np.float32)
    expected = by_hand(x, gradient, *shape)
    parts = 2 * -(-channels // BLOCK)
    out = np.full(expected.shape, 99, np.float32)
    weight_gradient(x, gradient, shape, 0, parts, out)
    np.testing.assert_allclose(out, expected, atol=1e-4)

    apart = np.full(expected.shape, 99, np.float32)
    for part in reversed(range(parts)):
        weight_gradient(x, gradient, shape, part, part + 1, apart)
    assert (apart == out).all()


def test_bfloat16_is_read_from_its_bits():
    random = np.random.default_rng(0)
    bits = [random.standard_normal((1, 6, 5, 3)).astype(np.float32).view(np.uint32) for _ in "xg"]
    halves = [(values >> 16).astype(np.uint16) for values in bits]
    wide = [(half.astype(np.uint32) << 16).view(np.float32) for half in halves]
    results = np.zeros((2, 1, 9, 3), np.float32)
    weight_gradient(*halves, (3, 1, 1), 0, 1, results[0])
    weight_gradient(*wide, (3, 1, 1), 0, 1, results[1])
    assert (results[0] == results[1]).all()
    assert results.any()
