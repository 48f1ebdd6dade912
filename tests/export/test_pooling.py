import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.export.graph import PaddedMaxPool
from detection.export.pooling import bin_edges, longest_bin, pool_by_table
from detection.features.pyramid import pyramid_pool


@st.composite
def maps_and_windows(draw):
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    random = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    values = torch.randn(3, height, width, generator=random)
    count = draw(st.integers(0, 8))
    x1 = [draw(st.integers(0, width - 1)) for _ in range(count)]
    y1 = [draw(st.integers(0, height - 1)) for _ in range(count)]
    windows = [
        [x, y, draw(st.integers(x + 1, width)), draw(st.integers(y + 1, height))]
        for x, y in zip(x1, y1, strict=True)
    ]
    return values, torch.tensor(windows, dtype=torch.int64).view(-1, 4)


@given(maps_and_windows(), st.sampled_from([(1, 2, 3, 6), (1,), (6, 3, 2, 1), (4, 5), (7,)]))
def test_the_table_gives_the_pyramid_exactly(pair, levels):
    values, windows = pair
    longest = max(values.shape[1:])
    actual = pool_by_table(values, windows, levels, longest)
    assert torch.equal(actual, pyramid_pool(values, windows, levels))


def test_a_table_for_larger_maps_gives_the_same():
    values = torch.randn(2, 9, 14, generator=torch.Generator().manual_seed(0))
    windows = torch.tensor([[0, 0, 14, 9], [3, 2, 4, 3], [1, 0, 12, 7]])
    expected = pyramid_pool(values, windows, (1, 2, 3, 6))
    for longest in (14, 15, 16, 100, 345):
        assert torch.equal(pool_by_table(values, windows, (1, 2, 3, 6), longest), expected)


def test_bins_of_seven_cells_in_three():
    low, high = bin_edges(torch.tensor([10]), torch.tensor([17]), 3)
    assert low.tolist() == [[10, 10 + 7 // 3, 10 + 14 // 3]]
    assert high.tolist() == [[10 + 3, 10 + 5, 10 + 7]]


@pytest.mark.parametrize("level", [1, 2, 3, 6, 7])
def test_no_bin_is_longer_than_the_longest(level):
    for length in range(1, 60):
        low, high = bin_edges(torch.tensor([0]), torch.tensor([length]), level)
        assert int((high - low).max()) <= longest_bin(length, level)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 0), (3, 2, 1), (2, 2, 0), (3, 3, 0)]
)
def test_a_padded_pool_is_one_that_rounds_up(kernel, stride, padding):
    values = torch.randn(1, 2, 31, 31, generator=torch.Generator().manual_seed(0)) - 5
    pool = torch.nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)
    padded = PaddedMaxPool(kernel, stride, padding)
    for height in range(kernel, 20):
        part = values[:, :, :height, : height + 3]
        assert torch.equal(padded(part), pool(part))
