"""The GPU's way of pooling: on a GPU where there is one, else in Triton's interpreter.

Triton reads whether to interpret when it is imported, so that this file runs itself again in a
process of its own. There kernels work on tensors of the CPU.
"""

import logging
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection.features import pyramid as module
from detection.features.pyramid import pyramid_pool
from tests.features.test_pyramid import random_map, random_windows
from tests.reference.pyramid import pyramid

triton_pyramid = pytest.importorskip("detection.features.triton_pyramid")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
LEVELS = (1, 2, 3, 6)


def runs_kernels(test):
    """Mark a test that needs a GPU or the interpreter."""
    missing = not INTERPRETED and not torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(missing, reason="no CUDA device")(test))


def no_fallback(*given):
    raise AssertionError("the kernel did not run")


def pool(values, windows, levels=LEVELS, layout="paper"):
    given = values.to(DEVICE), windows.to(DEVICE)
    return triton_pyramid.pool(*given, levels, layout, no_fallback)


@pytest.fixture(autouse=True)
def usable(monkeypatch):
    """What a test finds out about its device is forgotten after it."""
    monkeypatch.setattr(triton_pyramid, "_UNUSABLE", set())


def last_bits(values):
    """The bits of floats; two zeros are equal but differ there."""
    return values.contiguous().view(torch.int32)


@pytest.mark.skipif(DEVICE == "cpu", reason="this is the interpreter")
def test_the_interpreter_runs_the_kernels():
    options = ["-m", "gpu", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", __file__, *options]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "passed" in done.stdout
    assert "1 skipped" in done.stdout  # the one that asks for a real GPU


@runs_kernels
@pytest.mark.parametrize(
    ("levels", "channels", "layout", "dtype"),
    [
        (LEVELS, 66, "paper", torch.float32),
        (LEVELS, 4, "paper", torch.bfloat16),
        (LEVELS, 5, "bin_major", torch.float32),
        ((7,), 3, "paper", torch.float32),
        ((1, 2, 3), 3, "paper", torch.float32),
        ((4, 2, 1), 4, "bin_major", torch.bfloat16),
        ((3, 1, 4, 3, 2), 2, "paper", torch.float32),
        ((9, 3), 2, "paper", torch.bfloat16),
    ],
)
def test_the_kernel_has_the_bins_of_the_paper(levels, channels, layout, dtype):
    values = random_map(channels, 7, 10, dtype, negative=True)
    cells = torch.tensor([[9, 6, 10, 7], [0, 0, 10, 7], [3, 2, 8, 4], [3, 2, 8, 4]])
    windows = torch.cat((cells, random_windows(1, 7, 10)))
    pooled = pool(values, windows, levels, layout).cpu()
    assert torch.equal(
        last_bits(pooled), last_bits(pyramid_pool(values, windows, levels, layout=layout))
    )
    if layout == "paper":
        assert torch.equal(pooled, pyramid(values.float(), windows.tolist(), levels))


@runs_kernels
@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("channels", [0, 2])
def test_no_windows_and_no_channels_have_no_values(count, channels):
    values = random_map(channels, 3, 4).to(DEVICE).requires_grad_()
    pooled = pool(values, random_windows(2, 3, 4)[:count].to(torch.int32), (2, 1))
    assert pooled.shape == (count, channels * 5)
    assert pooled.dtype == torch.float32
    pooled.sum().backward()
    assert values.grad.shape == values.shape
    assert float(values.grad.sum()) == 5 * count * channels


@runs_kernels
def test_the_kernel_reads_maps_in_any_memory_layout():
    values, windows = random_map(4, 6, 10)[:, ::2, 1:8], random_windows(3, 3, 7)
    expected = pyramid(values, windows.tolist(), (2, 1))
    assert torch.equal(pool(values, windows, (2, 1)).cpu(), expected)
    last = values.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(pool(last, windows, (2, 1)).cpu(), expected)


@runs_kernels
def test_not_a_number_stays_one_as_in_the_compiled_loops():
    values = random_map(3, 4, 5)
    values[1, 2, 3] = float("nan")
    values[2] = float("-inf")
    windows = torch.tensor([[0, 0, 5, 4], [0, 0, 2, 2]])
    pooled = pool(values, windows, (2, 1)).cpu()
    assert torch.equal(pooled.isnan(), pyramid_pool(values, windows, (2, 1)).isnan())
    assert pooled.isnan().any()
    assert torch.equal(pooled.isneginf().sum(dim=1), torch.tensor([5, 5]))


@runs_kernels
def test_a_window_outside_the_map_has_a_row_that_is_not_a_number_and_no_gradient():
    outside = [[-1, 0, 2, 2], [0, 0, 5, 2], [0, 0, 2, 4], [2, 1, 2, 3], [1, 2, 3, 1]]
    windows = torch.tensor([*outside, [0, 0, 4, 3], [0, -(2**40), 1, 1], [2**40, 0, 2**41, 3]])
    values = random_map(2, 3, 4).to(DEVICE).requires_grad_()
    pooled = pool(values, windows, (2, 1))
    assert pooled.isnan().all(dim=1).tolist() == [True] * 5 + [False] + [True] * 2
    assert torch.equal(pooled[5], pool(values, windows[5:6], (2, 1))[0])
    pooled.backward(torch.ones_like(pooled))
    assert float(values.grad.sum()) == 2 * 5


@runs_kernels
@pytest.mark.parametrize(
    ("levels", "layout", "dtype"),
    [
        (LEVELS, "paper", torch.float32),
        (LEVELS, "bin_major", torch.bfloat16),
        ((3, 2), "paper", torch.bfloat16),
    ],
)
def test_the_kernel_has_the_gradient_of_the_maximum(levels, layout, dtype):
    """Without equal values, and compared with differentiating the bins of the paper."""
    generator = torch.Generator().manual_seed(1)
    cells = (torch.randperm(3 * 7 * 8, generator=generator) - 80).view(3, 7, 8).to(dtype)
    windows = torch.tensor([[0, 0, 8, 7], [1, 1, 4, 3], [1, 1, 4, 3], [7, 6, 8, 7]])
    order = torch.arange(3 * sum(n * n for n in levels))
    if layout == "bin_major":
        order = module.bin_major_permutation(3, levels)
    weights = torch.randint(-4, 5, (4, len(order)), generator=generator).float()
    values = cells.to(DEVICE).requires_grad_()
    (pool(values, windows, levels, layout) * weights[:, order].to(DEVICE)).sum().backward()
    expected = cells.float().detach().requires_grad_()
    (differentiable_pyramid(expected, windows.tolist(), levels) * weights).sum().backward()
    assert values.grad.dtype == dtype
    assert torch.equal(values.grad.cpu(), expected.grad.to(dtype))


def differentiable_pyramid(values, windows, levels):
    return torch.cat([pyramid(values, [window], levels) for window in windows])


@runs_kernels
def test_of_equal_values_the_first_cell_has_the_gradient():
    """By hand: one bin of the map and four of its cells, then their union; -0.0 equals 0.0."""
    cells = torch.tensor([[[-0.0, 0.0], [0.0, 0.0]], [[-1.0, 2.0], [2.0, 2.0]]])
    whole = torch.tensor([[0, 0, 2, 2]])
    values = cells.clone().to(DEVICE).requires_grad_()
    pool(values, whole, (1,)).backward(torch.tensor([[5.0, 7]], device=DEVICE))
    assert values.grad.tolist() == [[[5, 0], [0, 0]], [[0, 7], [0, 0]]]
    values = cells.clone().to(DEVICE).requires_grad_()
    pooled = pool(values, whole, (2, 1))
    pooled.backward(torch.tensor([[1.0, 2, 3, 4, 10, 20, 30, 40, 100, 1000]], device=DEVICE))
    assert values.grad.tolist() == [[[101, 2], [3, 4]], [[10, 1020], [30, 40]]]


@runs_kernels
def test_many_windows_and_channels_have_their_own_place():
    """Rows of the grid beyond the first, where a wrong stride would show."""
    values = torch.arange(70.0)[:, None, None] + 100 * torch.arange(4)
    windows = torch.tensor([[x, 0, x + 1, 1] for x in (0, 3, 1, 2)])
    expected = torch.arange(70.0) + 100 * torch.tensor([[0], [3], [1], [2]])
    assert torch.equal(pool(values, windows, (1,)).cpu(), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_map_on_a_gpu_takes_the_kernel(monkeypatch):
    monkeypatch.setattr(module, "pool_with_torch", no_fallback)
    module._gpu_backend.cache_clear()
    values, windows = random_map(70, 42, 57, negative=True), random_windows(500, 42, 57)
    pooled = pyramid_pool(values.cuda(), windows.cuda())
    module._gpu_backend.cache_clear()
    assert torch.equal(last_bits(pooled.cpu()), last_bits(pyramid_pool(values, windows)))


def test_the_plan_by_hand():
    plan = triton_pyramid.make_plan((1, 2, 3, 6))
    assert plan == triton_pyramid.PyramidPlan(
        sides=(6,), levels=(1, 2, 3, 6), sources=(0, 0, 0, 0), starts=(0, 1, 5, 14)
    )
    plan = triton_pyramid.make_plan((3, 1, 4, 3))
    assert plan == triton_pyramid.PyramidPlan(
        sides=(4, 3), levels=(3, 1, 4, 3), sources=(1, 1, 0, 1), starts=(0, 9, 10, 26)
    )


@given(levels=st.lists(st.integers(1, 24), min_size=1, max_size=6))
def test_each_level_divides_the_one_it_comes_from_and_these_divide_no_other(levels):
    plan = triton_pyramid.make_plan(levels)
    assert plan.levels == tuple(levels)
    for level, source in zip(plan.levels, plan.sources, strict=True):
        assert plan.sides[source] % level == 0
    for side in plan.sides:
        assert side in levels
        assert not any(other % side == 0 for other in plan.levels if other != side)


@pytest.fixture
def broken(monkeypatch):
    """A device for which nothing compiles, and the number of tries."""
    tries = []

    def fail(*given):
        tries.append(given)
        raise RuntimeError("no C compiler\nand more about it")

    monkeypatch.setattr(triton_pyramid, "_launch", fail)
    return tries


def test_where_the_kernel_does_not_compile_torch_pools_and_the_log_says_so_once(broken, caplog):
    values, windows = random_map(2, 6, 7), random_windows(3, 6, 7)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            pooled = triton_pyramid.pool(values, windows, LEVELS, "paper", module.pool_with_torch)
            assert torch.equal(pooled, pyramid_pool(values, windows))
    assert len(broken) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "pyramid pooling on cpu: expected a kernel that compiles, got no C compiler; "
        "slower operations of torch give the same result"
    ]


def test_where_only_the_backward_kernel_does_not_compile_torch_differentiates(broken, monkeypatch):
    cells = torch.randperm(42, generator=torch.Generator().manual_seed(0)).float().view(1, 6, 7)
    windows = random_windows(3, 6, 7)
    values, expected = cells.clone().requires_grad_(), cells.clone().requires_grad_()
    module.pool_with_torch(expected, windows, LEVELS, "paper").square().sum().backward()
    with monkeypatch.context() as patch:
        patch.setattr(triton_pyramid, "_forward", module.pool_with_torch)
        pooled = triton_pyramid.pool(values, windows, LEVELS, "paper", module.pool_with_torch)
    pooled.square().sum().backward()
    assert len(broken) == 1
    assert torch.equal(values.grad, expected.grad)


def test_too_little_memory_is_no_reason_to_take_the_slower_way(monkeypatch):
    def fail(*given):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(triton_pyramid, "_launch", fail)
    values, windows = random_map(2, 6, 7), random_windows(3, 6, 7)
    with pytest.raises(torch.OutOfMemoryError):
        triton_pyramid.pool(values, windows, LEVELS, "paper", no_fallback)
    assert not triton_pyramid._UNUSABLE


def test_a_level_too_fine_for_the_registers_is_pooled_by_torch(broken):
    values, windows = random_map(1, 40, 36), random_windows(2, 40, 36)
    pooled = triton_pyramid.pool(values, windows, (33,), "paper", module.pool_with_torch)
    assert torch.equal(pooled, pyramid(values, windows.tolist(), (33,)))
    assert not broken
