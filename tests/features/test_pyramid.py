import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import adaptive_max_pool2d

from detection.features import pyramid as module
from detection.features.pyramid import bin_major_permutation, finer_levels, merge_bins, pyramid_pool
from tests.features.maps import random_map
from tests.reference.pyramid import pyramid

LEVELS = (1, 2, 3, 6)


def random_windows(count, rows, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, columns + 1, (count * 9, 2), generator=generator).sort(dim=1).values
    y = torch.randint(0, rows + 1, (count * 9, 2), generator=generator).sort(dim=1).values
    windows = torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), dim=1)
    positive = (x[:, 1] > x[:, 0]) & (y[:, 1] > y[:, 0])
    return windows[positive][:count]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("levels", [LEVELS, (6, 3, 2, 1), (4, 3), (7,), (5, 1, 5)])
def test_every_window_has_the_bins_of_the_paper(dtype, negative, levels):
    values = random_map(5, 19, 43, dtype, negative=negative)
    windows = random_windows(80, 19, 43)
    assert torch.equal(
        pyramid_pool(values, windows, levels),
        pyramid(values.float(), windows.tolist(), levels),
    )


@pytest.mark.parametrize("level", [1, 2, 3, 6])
def test_bins_equal_adaptive_max_pooling_for_all_sides_up_to_80(level):
    values = random_map(1, 80, 80, negative=True)
    ends = torch.arange(1, 81)
    square = torch.stack((0 * ends, 0 * ends, ends, ends.flip(0)), dim=1)
    expected = torch.cat(
        [
            adaptive_max_pool2d(values[None, :, :height, :width], level).flatten(1)
            for _, _, width, height in square.tolist()
        ]
    )
    assert torch.equal(pyramid_pool(values, square, (level,)), expected)
    assert torch.equal(pyramid(values, square.tolist(), (level,)), expected)


@pytest.mark.usefixtures("way")
def test_the_whole_map_as_a_window_is_adaptive_max_pooling():
    values = random_map(7, 13, 17)
    whole = torch.tensor([[0, 0, 17, 13]])
    expected = torch.cat([adaptive_max_pool2d(values[None], n).flatten(1) for n in LEVELS], dim=1)
    assert torch.equal(pyramid_pool(values, whole, LEVELS), expected)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("levels", [LEVELS, (7,)])
def test_no_windows_have_no_rows_of_float32(dtype, levels):
    pooled = pyramid_pool(
        random_map(2, 60, 60, dtype), torch.zeros(0, 4, dtype=torch.int64), levels
    )
    assert pooled.shape == (0, 2 * sum(n * n for n in levels))
    assert pooled.dtype == torch.float32


@pytest.mark.usefixtures("way")
def test_a_map_without_channels_has_rows_without_values():
    pooled = pyramid_pool(torch.zeros(0, 3, 4), torch.tensor([[0, 0, 4, 3]]))
    assert pooled.shape == (1, 0)


@pytest.mark.usefixtures("way")
def test_a_window_of_one_cell_fills_all_bins_with_it():
    values = torch.arange(12.0).view(1, 3, 4)
    pooled = pyramid_pool(values, torch.tensor([[2, 1, 3, 2]]), LEVELS)
    assert torch.equal(pooled, torch.full((1, 50), 6.0))


@pytest.mark.usefixtures("way")
def test_levels_come_in_the_order_given_each_channel_first():
    values = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    whole = torch.tensor([[0, 0, 2, 1]])
    assert pyramid_pool(values, whole, (1, 2)).tolist() == [[2, 4, 1, 2, 1, 2, 3, 4, 3, 4]]
    assert pyramid_pool(values, whole, (2, 1)).tolist() == [[1, 2, 1, 2, 3, 4, 3, 4, 2, 4]]


@pytest.mark.usefixtures("way")
def test_bin_major_is_a_permutation_of_the_paper_order():
    values, windows = random_map(5, 11, 9), random_windows(20, 11, 9)
    for levels in (LEVELS, (3, 4)):
        permutation = bin_major_permutation(5, levels)
        assert sorted(permutation.tolist()) == list(range(5 * sum(n * n for n in levels)))
        assert torch.equal(
            pyramid_pool(values, windows, levels, layout="bin_major"),
            pyramid_pool(values, windows, levels)[:, permutation],
        )


@pytest.mark.usefixtures("way")
@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 20), columns=st.integers(1, 20), count=st.integers(0, 5))
def test_the_length_does_not_depend_on_the_map(rows, columns, count):
    windows = random_windows(count, rows, columns)
    pooled = pyramid_pool(random_map(3, rows, columns), windows, LEVELS)
    assert pooled.shape == (len(windows), 150)
    assert pooled.dtype == torch.float32


@pytest.mark.usefixtures("way")
@settings(deadline=None, max_examples=25)
@given(st.permutations(range(12)))
def test_permuting_windows_permutes_rows(order):
    values, windows = random_map(4, 9, 9), random_windows(12, 9, 9)
    assert torch.equal(
        pyramid_pool(values, windows[list(order)]), pyramid_pool(values, windows)[list(order)]
    )


@pytest.mark.usefixtures("way")
@settings(deadline=None, max_examples=40)
@given(
    sides=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    channels=st.integers(1, 5),
    levels=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 999),
    layout=st.sampled_from(["paper", "bin_major"]),
)
def test_any_map_window_and_pyramid_gives_the_bins_of_the_paper(
    sides, channels, levels, seed, layout
):
    values = random_map(channels, *sides, seed=seed, negative=True)
    windows = random_windows(7, *sides, seed)
    expected = pyramid(values, windows.tolist(), levels)
    if layout == "bin_major":
        expected = expected[:, bin_major_permutation(channels, levels)]
    assert torch.equal(pyramid_pool(values, windows, levels, layout=layout), expected)


@pytest.mark.usefixtures("way")
@settings(deadline=None, max_examples=25)
@given(shift=st.tuples(st.integers(0, 6), st.integers(0, 6)), seed=st.integers(0, 999))
def test_pooling_moves_with_the_map(shift, seed):
    values, windows = random_map(3, 9, 11, seed=seed, negative=True), random_windows(5, 9, 11, seed)
    larger = torch.full((3, 9 + shift[1], 11 + shift[0]), 99.0)
    larger[:, shift[1] :, shift[0] :] = values
    moved = windows + torch.tensor([*shift, *shift])
    assert torch.equal(pyramid_pool(larger, moved), pyramid_pool(values, windows))


@pytest.mark.usefixtures("way")
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), level=st.integers(1, 7))
def test_larger_values_never_pool_to_smaller_ones(seed, level):
    values, windows = random_map(3, 9, 11, seed=seed, negative=True), random_windows(5, 9, 11, seed)
    more = values + random_map(3, 9, 11, seed=seed + 1)
    assert (pyramid_pool(more, windows, (level,)) >= pyramid_pool(values, windows, (level,))).all()


@settings(deadline=None, max_examples=60)
@given(levels=st.lists(st.integers(1, 24), min_size=1, max_size=6))
def test_each_level_is_merged_from_a_multiple_that_is_pooled_before_it(levels):
    plan = finer_levels(levels)
    assert list(plan) == sorted(set(levels), reverse=True)
    pooled = []
    for level, finer in plan.items():
        multiples = [n for n in pooled if n % level == 0]
        assert finer == (min(multiples) if multiples else None)
        pooled.append(level)


@pytest.mark.usefixtures("way")
def test_many_windows_on_several_threads_equal_one_at_a_time():
    values, windows = random_map(8, 20, 30), random_windows(300, 20, 30)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        together = pyramid_pool(values, windows)
    finally:
        torch.set_num_threads(threads)
    alone = torch.cat([pyramid_pool(values, window[None]) for window in windows])
    assert torch.equal(together, alone)


@pytest.fixture
def calls(monkeypatch):
    """The windows that each call of the compiled loops pools, and whether in the main thread."""
    pytest.importorskip("numba")
    pool, noted = module.kernels.pool_windows, []

    def noting(*given):
        begin, end = given[4:6]
        noted.append((begin, end, threading.current_thread() is threading.main_thread()))
        pool(*given)

    monkeypatch.setattr(module.kernels, "pool_windows", noting)
    return noted


@pytest.mark.parametrize(("threads", "used"), [(1, []), (2, [2]), (3, [3]), (5, [3])])
def test_each_window_is_pooled_once_on_as_many_threads_as_torch_has(
    calls, monkeypatch, threads, used
):
    """130 windows are three calls of at most 64, and no more threads than calls."""
    executors = []
    monkeypatch.setattr(
        module, "ThreadPoolExecutor", lambda n: executors.append(n) or ThreadPoolExecutor(n)
    )
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    pyramid_pool(random_map(2, 20, 30), random_windows(130, 20, 30))
    here = threads == 1
    assert sorted(calls) == [(0, 64, here), (64, 128, here), (128, 130, here)]
    assert executors == used


def test_the_compiled_loops_are_taken_where_no_gradient_is_wanted(calls):
    values, windows = random_map(2, 6, 7), random_windows(3, 6, 7)
    pyramid_pool(values, windows)
    assert len(calls) == 1
    with torch.no_grad():
        pyramid_pool(values.requires_grad_(), windows)
    assert len(calls) == 2
    assert pyramid_pool(values, windows).requires_grad
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("dtype", "numba", "remembers"),
    [
        (torch.float32, True, True),
        (torch.bfloat16, True, True),
        (torch.float64, True, False),
        (torch.float32, False, False),
    ],
)
def test_where_a_gradient_is_wanted_the_loops_remember_it(dtype, numba, remembers, monkeypatch):
    """They read float32 and bfloat16; torch differentiates the rest."""
    pytest.importorskip("numba")
    monkeypatch.setattr(module, "NUMBA_AVAILABLE", numba)
    values = random_map(2, 6, 7, dtype).requires_grad_()
    chosen = module._pool_for_gradient if remembers else module.pool_with_torch
    assert module._backend(values) is chosen


def test_a_map_without_negative_values_is_taken_as_it_is():
    """Zeros included, which a rectified map has many of."""
    values = torch.tensor([[[0.0, 1.0], [0.5, 0.0]]])
    cells, mask = module._ordered_bits(values)
    assert mask == 0
    assert cells.ravel().tolist() == values.view(torch.int32).flatten().tolist()


def test_the_bits_of_a_map_are_in_the_order_of_its_values():
    values = torch.tensor([-3.0, -1.5, -0.0, 0.0, 0.25, 7.0])
    for dtype, mask in ((torch.float32, 0x7FFFFFFF), (torch.bfloat16, 0x7FFF0000)):
        cells, windows = module._ordered_bits(values.to(dtype).view(1, 1, -1))
        assert windows == mask
        assert (cells.ravel()[1:] > cells.ravel()[:-1]).all()


def test_the_block_of_bins_by_hand():
    """6 x 6 bins first, then 3 x 3 and 2 x 2 of them, then the one bin of those 2 x 2.

    A row is level, place of the finer level (-1: pool the map), its own place, the finer level.
    """
    plan, pieces = module._plan_block((1, 2, 3, 6))
    assert plan.tolist() == [[6, -1, 0, 0], [3, 0, 36, 6], [2, 0, 45, 6], [1, 45, 49, 2]]
    assert pieces.tolist() == [[49, 1], [45, 4], [36, 9], [0, 36]]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "window", [[-1, 0, 2, 2], [0, 0, 5, 2], [0, 0, 2, 4], [2, 1, 2, 3], [1, 2, 3, 1]]
)
@pytest.mark.parametrize("gradient", [False, True])
def test_a_window_outside_the_map_or_empty_is_refused(window, gradient):
    """A compiled loop would read foreign memory."""
    values = torch.zeros(1, 3, 4, requires_grad=gradient)
    for windows in ([window], [[0, 0, 4, 3], window], [window, [0, 0, 0, 0]]):
        with pytest.raises(ValueError, match="windows") as caught:
            pyramid_pool(values, torch.tensor(windows))
        expected = f"windows: expected non-empty ranges of 4 x 3 cells, got {window}"
        assert str(caught.value) == expected


@pytest.mark.usefixtures("way")
def test_pooling_has_the_gradient_of_the_maximum():
    generator = torch.Generator().manual_seed(1)
    cells = torch.randperm(2 * 5 * 6, generator=generator).double().view(2, 5, 6) / 10
    windows = torch.tensor([[0, 0, 6, 5], [1, 1, 4, 3], [2, 2, 3, 3]])
    values = cells.float().requires_grad_()
    weights = torch.rand(3, 100, generator=generator)
    (pyramid_pool(values, windows) * weights).sum().backward()
    expected = torch.zeros(2, 5, 6)
    for row, window in zip(weights, windows.tolist(), strict=True):
        reference = cells.float().requires_grad_()
        (pyramid(reference, [window], LEVELS)[0] * row).sum().backward()
        expected += reference.grad
    assert torch.allclose(values.grad, expected, atol=1e-5)


def test_merged_bins_equal_pooled_ones():
    values = random_map(3, 13, 11)
    windows = random_windows(30, 13, 11)
    sixes = pyramid_pool(values, windows, (6,)).view(-1, 3, 6, 6)
    for level in (1, 2, 3):
        assert torch.equal(
            merge_bins(sixes, level).flatten(1), pyramid(values, windows.tolist(), (level,))
        )


def test_a_level_is_merged_from_the_coarsest_multiple():
    assert finer_levels((1, 2, 3, 6)) == {6: None, 3: 6, 2: 6, 1: 2}
    assert finer_levels((4, 3)) == {4: None, 3: None}


def test_pooling_works_without_numba(monkeypatch):
    values, windows = random_map(2, 6, 7), random_windows(9, 6, 7)
    expected = pyramid_pool(values, windows)
    monkeypatch.setattr(module, "NUMBA_AVAILABLE", False)
    monkeypatch.setattr(module, "kernels", None)
    assert torch.equal(pyramid_pool(values, windows), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gpu_gives_the_same_numbers(dtype):
    values = random_map(16, 42, 57, dtype, negative=True)
    windows = random_windows(500, 42, 57)
    pooled = pyramid_pool(values.cuda(), windows.cuda())
    assert torch.equal(pooled.cpu(), pyramid_pool(values, windows))


@pytest.fixture
def elsewhere(monkeypatch):
    """Windows are taken to lie on a device that nobody should wait for."""
    monkeypatch.setattr(module, "_on_host", lambda values: False)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("levels", [LEVELS, (7,)])
@pytest.mark.parametrize(
    "window", [[-1, 0, 2, 2], [0, 0, 61, 2], [0, 0, 2, 5], [2, 1, 2, 3], [1, 2, 3, 1]]
)
def test_on_a_device_a_window_outside_the_map_or_empty_has_a_row_that_is_not_a_number(
    window, levels
):
    values = random_map(2, 4, 60)
    pooled = pyramid_pool(values, torch.tensor([[0, 0, 60, 4], window]), levels)
    assert torch.equal(pooled[:1], pyramid(values, [[0, 0, 60, 4]], levels))
    assert pooled[1].isnan().all()


def test_a_gpu_without_triton_is_pooled_by_torch_and_the_log_says_so_once(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "detection.features.triton_pyramid", raising=False)
    monkeypatch.delattr("detection.features.triton_pyramid", raising=False)
    module._gpu_backend.cache_clear()
    with FakeTensorMode():
        values = torch.empty(1, 2, 3, device="cuda")
    assert module._backend(values) is module.pool_with_torch
    assert module._backend(values) is module.pool_with_torch
    module._gpu_backend.cache_clear()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "expected triton" in caplog.text


def test_a_gpu_with_triton_is_pooled_by_its_kernel():
    triton_pyramid = pytest.importorskip("detection.features.triton_pyramid")
    with FakeTensorMode():
        values = torch.empty(1, 2, 3, device="cuda")
    chosen = module._backend(values)
    assert chosen.func is triton_pyramid.pool
    assert chosen.keywords == {"fallback": module.pool_with_torch}
