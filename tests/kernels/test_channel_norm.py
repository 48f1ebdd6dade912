"""The rows of the compiled pass; tests/features/test_fused_norm.py compares whole maps."""

import numpy as np
import torch

from detection.kernels.channel_norm import load_row, normalise_row, store_row


def bits(values, dtype=torch.float32):
    integer, unsigned = {
        torch.float32: (torch.int32, np.uint32),
        torch.bfloat16: (torch.int16, np.uint16),
    }[dtype]
    return torch.tensor(values, dtype=dtype).view(integer).numpy().view(unsigned)


def test_a_row_is_loaded_without_what_is_negative():
    for dtype in (torch.float32, torch.bfloat16):
        row = np.empty(5, np.float32)
        load_row(bits([1.5, -2.0, -0.0, float("nan"), float("inf")], dtype), row)
        np.testing.assert_array_equal(row, [1.5, 0.0, 0.0, np.nan, np.inf])
        assert not np.signbit(row[:3]).any()


def test_a_number_is_divided_by_what_is_around_it():
    above, here, below = np.arange(1, 13, dtype=np.float32).reshape(3, 4)  # 2 pixels, 2 channels
    out, sums = np.empty(4, np.float32), np.zeros(8, np.float32)
    normalise_row(above, here, below, 2, 0.01, sums, out)
    first = 1 + 9 + 25 + 49 + 81 + 121  # channel 0 of both pixels; nothing lies beyond the edges
    second = 4 + 16 + 36 + 64 + 100 + 144
    scale = (1 + 0.01 * np.array([first, second, first, second])) ** -0.75
    np.testing.assert_allclose(out, here * scale, rtol=1e-6)


def test_maxima_of_three_pixels_end_with_the_last_one():
    row = torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0, 9.0]).view(torch.int32).numpy().view(np.uint32)
    out = np.empty(3, np.uint32)
    store_row(row, 1, out)
    assert out.view(np.float32).tolist() == [5.0, 4.0, 9.0]


def test_sixteen_bits_are_rounded_to_the_nearest_even():
    values = torch.tensor([1.0 + 2**-8, 0.0, 0.0, 1.0 + 3 * 2**-8, 0.0, 0.0])
    row = values.view(torch.int32).numpy().view(np.uint32)
    for start, expected in ((0, 1.0), (3, 1.0 + 2**-6)):
        one = np.empty(1, np.uint16)
        store_row(row[start : start + 2].copy(), 1, one)
        found = torch.from_numpy(one.view(np.int16)).view(torch.bfloat16)
        assert found.item() == expected == values[start].bfloat16().item()
