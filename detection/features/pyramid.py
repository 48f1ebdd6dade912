"""Spatial pyramid pooling: from windows of any size to vectors of one length."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detection.features.pyramid_gradient import pool_and_remember
from detection.features.torchvision_bins import pool_level
from detection.kernels import pyramid as kernels
from detection.kernels.buffers import Buffers
from detection.kernels.jit import NUMBA_AVAILABLE

logger = logging.getLogger(__name__)

Layout = Literal["paper", "bin_major"]
Pool = Callable[[Tensor, Tensor, Sequence[int], Layout], Tensor]

# Windows per task: enough to outweigh handing it over, few enough that threads end together.
_CHUNK = 64
_BUFFERS = Buffers()
_DIFFERENTIABLE = {torch.float32, torch.bfloat16}


def pyramid_pool(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    levels: Sequence[int] = (1, 2, 3, 6),
    *,
    layout: Layout = "paper",
) -> Float[Tensor, "r d"]:
    """Max-pool each window into grids of n x n bins, one grid per level.

    Bin (i, j) of a window w cells wide covers the columns ``floor(j w / n)`` to
    ``ceil((j + 1) w / n)``, likewise the rows: the bins of ``AdaptiveMaxPool2d``. Neighbouring bins
    overlap where n does not divide w; none is empty.

    Gradients flow back to ``values``. Maps on the CPU go through kernels compiled with numba, maps
    on a GPU through ones compiled with Triton, where these are installed; the rest through torch's
    operations. All of them compute the same numbers, and the same gradients where no two cells are
    equal: of equal ones the first has a bin's gradient, but torch's operations share that of a
    merged bin among the finer ones. On the CPU a gradient is the same to the bit on any number of
    threads.

    Args:
        values: a feature map, float32 or bfloat16.
        windows: half-open ranges of cells x1 y1 x2 y2, not empty, inside the map.
        levels: sides of the grids.
        layout: ``paper``, each level in the order channel, row, column; or ``bin_major``, row,
            column, channel, a little faster: see ``bin_major_permutation``.

    Returns:
        For each window the levels one after the other, float32: its classifiers are.

    Raises:
        ValueError: for a window on the CPU that is empty or leaves the map. To look at windows on
            another device would wait for it: there such a window has a row of NaN.

    Source:
        SPP §2.2, §4.1, Appendix A; spm_pool_caffe_mex.cpp of the release.
    """
    if _on_host(windows):
        _check_windows(values, windows)
    return _backend(values)(values, windows, levels, layout)


def bin_major_permutation(channels: int, levels: Sequence[int]) -> Int[Tensor, " d"]:
    """Return ``p`` such that ``bin_major == paper[:, p]``, to permute fc6's columns once."""
    parts: list[Tensor] = []
    start = 0
    for level in levels:
        count = channels * level * level
        parts.append(torch.arange(start, start + count).view(channels, -1).T.flatten())
        start += count
    return torch.cat(parts)


def merge_bins(bins: Float[Tensor, "r c m m"], level: int) -> Float[Tensor, "r c n n"]:
    """Return the bins of a coarser level whose side divides the finer one's.

    With m = k n, ``floor(i w / n) == floor(k i w / m)``, likewise the ceilings, and adjacent bins
    touch or overlap: a coarse bin is exactly the union of k x k fine ones.
    """
    rows, channels, side, _ = bins.shape
    step = side // level
    return bins.reshape(rows, channels, level, step, level, step).amax(dim=(3, 5))


def finer_levels(levels: Sequence[int]) -> dict[int, int | None]:
    """Return for each level, finest first, the level it can be merged from, or None."""
    plan: dict[int, int | None] = {}
    for level in sorted(set(levels), reverse=True):
        plan[level] = min((n for n in plan if n % level == 0), default=None)
    return plan


def _backend(values: Float[Tensor, "c h w"]) -> Pool:
    """Choose how a map is pooled; nothing else depends on its device."""
    if values.device.type == "cuda":
        return _gpu_backend() or pool_with_torch
    if not (NUMBA_AVAILABLE and _on_host(values)):
        return pool_with_torch
    if not (values.requires_grad and torch.is_grad_enabled()):
        return _pool_compiled
    return _pool_for_gradient if values.dtype in _DIFFERENTIABLE else pool_with_torch


def _on_host(values: Tensor) -> bool:
    return values.device.type == "cpu"


@functools.cache
def _gpu_backend() -> Pool | None:
    """Load the Triton kernels, only where there is a GPU; without Triton log it, once."""
    try:
        from detection.features import triton_pyramid
    except ImportError as error:
        message = "pyramid pooling on a GPU: expected triton, got %s; slower operations of torch"
        logger.warning(message + " give the same result", error)
        return None
    return functools.partial(triton_pyramid.pool, fallback=pool_with_torch)


def _inside(values: Float[Tensor, "c h w"], windows: Int[Tensor, "r 4"]) -> Bool[Tensor, " r"]:
    """Mark the windows that have cells and all of them in the map, without leaving the device."""
    x1, y1, x2, y2 = windows.unbind(dim=1)
    rows, columns = values.shape[1:]
    return (x1 >= 0) & (y1 >= 0) & (x2 <= columns) & (y2 <= rows) & (x2 > x1) & (y2 > y1)


def _check_windows(values: Float[Tensor, "c h w"], windows: Int[Tensor, "r 4"]) -> None:
    """Refuse windows that would read outside the map."""
    inside = _inside(values, windows)
    if not bool(inside.all()):
        rows, columns = values.shape[1:]
        worst = windows[~inside][0].tolist()
        message = f"windows: expected non-empty ranges of {columns} x {rows} cells, got {worst}"
        raise ValueError(message)


def pool_with_torch(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    levels: Sequence[int],
    layout: Layout,
) -> Float[Tensor, "r d"]:
    """Pool the finest levels, merge the others from them; in few launches and without waiting."""
    checked = _on_host(windows)
    windows = windows.to(values.device)
    pooled: dict[int, Tensor] = {}
    for level, finer in finer_levels(levels).items():
        if finer is not None:
            pooled[level] = merge_bins(pooled[finer], level)
        else:
            pooled[level] = pool_level(values, windows, level)
    parts = [pooled[level].flatten(2) for level in levels]
    if layout == "bin_major":
        parts = [part.transpose(1, 2) for part in parts]
    result = torch.cat([part.flatten(1) for part in parts], dim=1)
    if checked:
        return result
    return result.masked_fill(~_inside(values, windows)[:, None], float("nan"))


def _pool_compiled(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    levels: Sequence[int],
    layout: Layout,
) -> Float[Tensor, "r d"]:
    """Pool with the compiled kernel, some windows at a time on each of torch's threads."""
    cells, mask = _ordered_bits(values)
    plan, pieces = _plan_block(levels)
    ranges = np.ascontiguousarray(windows.cpu().numpy())
    out = _BUFFERS.take(len(ranges), values.shape[0] * sum(n * n for n in levels))

    def pool(begin: int) -> None:
        end = min(begin + _CHUNK, len(ranges))
        kernels.pool_windows(cells, ranges, plan, pieces, begin, end, layout == "bin_major", out)
        # Mirrored in the slice just written, which is still in the cache.
        if mask:
            out[begin:end] ^= (out[begin:end] >> 31) & mask

    starts = range(0, len(ranges), _CHUNK)
    threads = min(torch.get_num_threads(), len(starts))
    if threads <= 1:
        for begin in starts:
            pool(begin)
    else:
        with ThreadPoolExecutor(threads) as executor:
            list(executor.map(pool, starts))
    return torch.from_numpy(out).view(torch.float32)


def _pool_for_gradient(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    levels: Sequence[int],
    layout: Layout,
) -> Float[Tensor, "r d"]:
    """Pool with the compiled kernels that also find the cell of each maximum."""
    plan, pieces = _plan_block(levels)
    return pool_and_remember(values, windows, plan, pieces, layout == "bin_major")


def _ordered_bits(
    values: Float[Tensor, "c h w"],
) -> tuple[np.ndarray[Any, np.dtype[Any]], int]:
    """Read a map as integers (rows, columns, channels) in the order of its floats.

    The bits of floats that are not negative are in order already; those of negative ones descend
    and are mirrored. Also returns the mask that mirrors them back in the float32 result, 0 for
    none.
    """
    if values.dtype == torch.bfloat16:
        integer, mirror, mask = torch.int16, 0x7FFF, 0x7FFF0000
    else:
        values, integer, mirror, mask = values.float(), torch.int32, 0x7FFFFFFF, 0x7FFFFFFF
    # Channels last: the kernel's inner loops run over the channels of a cell.
    cells = values.detach().permute(1, 2, 0).contiguous().view(integer).numpy()
    # After a ReLU, the usual case, nothing is negative and nothing has to be mirrored.
    if cells.size == 0 or cells.min() >= 0:
        return cells, 0
    sign = cells >> (cells.itemsize * 8 - 1)
    return cells ^ (sign & cells.dtype.type(mirror)), mask


def _plan_block(
    levels: Sequence[int],
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Lay the levels into one block of bins: (how to compute each, what to write out)."""
    start: dict[int, int] = {}
    rows: list[tuple[int, int, int, int]] = []
    total = 0
    for level, finer in finer_levels(levels).items():
        start[level] = total
        rows.append((level, -1 if finer is None else start[finer], total, finer or 0))
        total += level * level
    pieces = [(start[level], level * level) for level in levels]
    return np.array(rows, dtype=np.int64), np.array(pieces, dtype=np.int64)
