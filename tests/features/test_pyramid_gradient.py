"""The kernels that remember; values and gradients are also compared in ``test_pyramid.py``."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.features import pyramid_gradient as module
from detection.features.pyramid import pool_with_torch, pyramid_pool
from tests.features.maps import random_map
from tests.features.test_pyramid import random_windows

pytest.importorskip("numba")


def gradient_of(pool, values, windows, levels, layout="paper"):
    values = values.detach().clone().requires_grad_()
    pooled = pool(values, windows, levels, layout)
    weights = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(3))
    return torch.autograd.grad(pooled, values, weights)[0]


def ours(values, windows, levels, layout):
    return pyramid_pool(values, windows, levels, layout=layout)


def distinct_map(channels, rows, columns, seed=0):
    """Values of which no two of a channel are equal, exact in bfloat16 too."""
    generator = torch.Generator().manual_seed(seed)
    order = [torch.randperm(rows * columns, generator=generator) for _ in range(channels)]
    return (torch.stack(order).view(channels, rows, columns) - 50.0) / 8


@settings(max_examples=40)
@given(
    sides=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    channels=st.integers(0, 20),
    count=st.integers(0, 7),
    levels=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 999),
    layout=st.sampled_from(["paper", "bin_major"]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    negative=st.booleans(),
)
def test_the_values_are_those_of_the_loops_that_forget(
    sides, channels, count, levels, seed, layout, dtype, negative
):
    values = random_map(channels, *sides, dtype, seed=seed, negative=negative)
    windows = random_windows(count, *sides, seed)
    expected = pyramid_pool(values, windows, levels, layout=layout)
    pooled = pyramid_pool(values.requires_grad_(), windows, levels, layout=layout)
    assert pooled.requires_grad
    assert torch.equal(pooled, expected)


@settings(max_examples=30)
@given(
    sides=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    channels=st.integers(1, 20),
    levels=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 999),
    layout=st.sampled_from(["paper", "bin_major"]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_the_gradients_are_those_of_torch(sides, channels, levels, seed, layout, dtype):
    values = distinct_map(channels, *sides, seed).to(dtype)
    windows = random_windows(6, *sides, seed)
    found = gradient_of(ours, values, windows, levels, layout)
    expected = gradient_of(pool_with_torch, values.float(), windows, levels, layout)
    assert found.dtype == dtype
    assert found.shape == values.shape
    once = 0.0 if dtype == torch.float32 else 2**-8  # rounded at the end
    assert torch.allclose(found.float(), expected, atol=1e-4, rtol=once)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_equal_values_the_first_cell_has_the_gradient(dtype):
    """One bin, and four bins of four cells with their union; -0.0 equals 0.0."""
    cells = torch.tensor([[[-0.0, 0.0], [0.0, -1.0]]], dtype=dtype, requires_grad=True)
    pyramid_pool(cells, torch.tensor([[0, 0, 2, 2]]), (1,)).sum().backward()
    assert cells.grad.tolist() == [[[1, 0], [0, 0]]]

    cells = torch.tensor([[[1, 5, 5], [0, 5, 2], [7, 1, 7]]], dtype=dtype, requires_grad=True)
    pooled = pyramid_pool(cells, torch.tensor([[0, 0, 3, 3]]), (1, 2))
    pooled.backward(torch.tensor([[1.0, 10, 20, 40, 80]]))
    assert cells.grad.tolist() == [[[0, 30, 0], [0, 0, 0], [41, 0, 80]]]


def test_a_small_step_changes_the_result_by_the_gradient():
    values, windows = distinct_map(2, 5, 6), random_windows(4, 5, 6)
    gradient = gradient_of(ours, values, windows, (1, 2, 3))
    weights = torch.randn(4, 28, generator=torch.Generator().manual_seed(3)).double()

    def total(cells):
        return (pyramid_pool(cells, windows, (1, 2, 3)).double() * weights).sum()

    for index in range(values.numel()):
        step = torch.zeros(values.numel())
        step[index] = 1 / 32  # exact, and less than half of what lies between two values
        step = step.view_as(values)
        slope = (total(values + step) - total(values - step)) * 16
        assert abs(float(slope - gradient.flatten()[index])) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_the_same_to_the_bit_on_any_number_of_threads(dtype):
    values, windows = random_map(40, 9, 11, dtype), random_windows(150, 9, 11)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(gradient_of(ours, values, windows, (1, 2, 3)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_gradient_in_bfloat16_is_summed_in_float32():
    """Of 1,000 ones, bfloat16 would lose all behind 256."""
    values = torch.tensor([[[1.0, 2.0]]], dtype=torch.bfloat16, requires_grad=True)
    windows = torch.tensor([[0, 0, 2, 1]]).expand(1000, 4)
    pyramid_pool(values, windows, (1,)).sum().backward()
    assert values.grad.dtype == torch.bfloat16
    assert values.grad.tolist() == [[[0, 1000]]]


def test_maps_in_any_memory_layout_have_the_same_gradient():
    values, windows = random_map(5, 6, 7), random_windows(9, 6, 7)
    last = values.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not last.is_contiguous()
    expected = gradient_of(ours, values, windows, (1, 2))
    assert torch.equal(gradient_of(ours, last, windows, (1, 2)), expected)
    both = torch.stack((values, values)).requires_grad_()
    pooled = [pyramid_pool(one, windows, (1, 2)) for one in both.unbind()]
    weights = torch.randn(pooled[0].shape, generator=torch.Generator().manual_seed(3))
    (found,) = torch.autograd.grad(pooled, both, [weights, 2 * weights])
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1], 2 * expected)


def test_maps_of_more_cells_than_16_bits_count_are_pooled_in_bfloat16_too(monkeypatch):
    values = distinct_map(3, 6, 7).bfloat16()
    windows = random_windows(9, 6, 7)
    expected = gradient_of(ours, values, windows, (1, 2))
    assert module._keys(values).dtype.itemsize == 4
    monkeypatch.setattr(module, "_NARROW", 41)
    assert module._keys(values).dtype.itemsize == 8
    assert torch.equal(gradient_of(ours, values, windows, (1, 2)), expected)


def test_the_last_cell_that_16_bits_count_has_its_gradient():
    values = torch.zeros(1, 256, 256, dtype=torch.bfloat16)
    values[0, 255, 255] = 1
    gradient = gradient_of(ours, values, torch.tensor([[0, 0, 256, 256]]), (1,))
    assert gradient.nonzero().tolist() == [[0, 255, 255]]


def test_not_a_number_stays_one():
    values = torch.tensor([[[0.0, float("nan")], [1.0, 2.0]]], requires_grad=True)
    assert pyramid_pool(values, torch.tensor([[0, 0, 2, 2]]), (1,)).isnan().all()
