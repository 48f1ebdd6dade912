"""Spatial pyramid pooling: from windows of any size to vectors of one length."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d
from torchvision.ops import roi_pool

from detection.features.buffers import Buffers

kernels: ModuleType | None
try:
    from detection.features import kernels
except ImportError:
    kernels = None

Layout = Literal["paper", "bin_major"]

_CHUNK = 64
_BUFFERS = Buffers()


def pyramid_pool(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    levels: Sequence[int] = (1, 2, 3, 6),
    *,
    layout: Layout = "paper",
) -> Float[Tensor, "r d"]:
    """Max-pool each window into grids of n x n bins, one grid a level.

    Bin (i, j) of a window w cells wide covers the columns ``floor(j w / n)`` to
    ``ceil((j + 1) w / n)``, likewise the rows: the bins of ``AdaptiveMaxPool2d``. Neighbouring bins
    overlap where n does not divide w; none is empty.

    Gradients flow back to ``values``. Without them, maps on the CPU go through a compiled kernel
    where numba is installed; all ways give the same numbers.

    Args:
        values: a feature map, float32 or bfloat16.
        windows: half-open ranges of cells x1 y1 x2 y2, not empty, inside the map.
        levels: sides of the grids.
        layout: ``paper``, each level in the order channel, row, column; or ``bin_major``, row,
            column, channel, a little faster: ``bin_major_permutation`` says how they relate.

    Returns:
        For each window the levels one after the other, float32: its classifiers are.

    Raises:
        ValueError: for a window that is empty or leaves the map.

    Source:
        SPP §2.2, §4.1, Appendix A; spm_pool_caffe_mex.cpp of the release.
    """
    _check_windows(values, windows)
    wants_gradient = values.requires_grad and torch.is_grad_enabled()
    if kernels is not None and values.device.type == "cpu" and not wants_gradient:
        return _pool_compiled(kernels, values, windows, levels, layout)
    return _pool_torch(values, windows, levels, layout)


def bin_major_permutation(channels: int, levels: Sequence[int]) -> Int[Tensor, " d"]:
    """Give ``p`` such that ``bin_major == paper[:, p]``: permute fc6's columns with it once."""
    parts: list[Tensor] = []
    start = 0
    for level in levels:
        count = channels * level * level
        parts.append(torch.arange(start, start + count).view(channels, -1).T.flatten())
        start += count
    return torch.cat(parts)


def merge_bins(bins: Float[Tensor, "r c m m"], level: int) -> Float[Tensor, "r c n n"]:
    """Give the bins of a coarser level, where its side divides the finer one's.

    With m = k n, ``floor(i w / n) == floor(k i w / m)``, likewise the ceilings, and adjacent bins
    touch or overlap: a coarse bin is exactly the union of k x k fine ones.
    """
    rows, channels, side, _ = bins.shape
    step = side // level
    return bins.reshape(rows, channels, level, step, level, step).amax(dim=(3, 5))


def finer_levels(levels: Sequence[int]) -> dict[int, int | None]:
    """Give for each level, finest first, the level it can be merged from; None if there is none."""
    plan: dict[int, int | None] = {}
    for level in sorted(set(levels), reverse=True):
        plan[level] = min((n for n in plan if n % level == 0), default=None)
    return plan


def _check_windows(values: Float[Tensor, "c h w"], windows: Int[Tensor, "r 4"]) -> None:
    """Refuse windows that would read outside the map."""
    rows, columns = values.shape[1:]
    limits = windows.new_tensor([columns, rows])
    inside = (windows[:, :2] >= 0) & (windows[:, 2:] <= limits) & (windows[:, 2:] > windows[:, :2])
    if not bool(inside.all()):
        worst = windows[~inside.all(dim=1)][0].tolist()
        message = f"windows: expected non-empty ranges of {columns} x {rows} cells, got {worst}"
        raise ValueError(message)


def _pool_torch(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    levels: Sequence[int],
    layout: Layout,
) -> Float[Tensor, "r d"]:
    """Pool the finest levels, merge the others from them."""
    windows = windows.to(values.device)
    pooled: dict[int, Tensor] = {}
    for level, finer in finer_levels(levels).items():
        if finer is not None:
            pooled[level] = merge_bins(pooled[finer], level)
        elif _is_exact(level, max(values.shape[1:])):
            corners = windows.float()
            batch = corners.new_zeros(len(windows), 1)
            rois = torch.cat((batch, corners[:, :2], corners[:, 2:] - 1), dim=1)
            pooled[level] = roi_pool(values[None].float(), rois, level)
        else:
            pooled[level] = _pool_one_by_one(values, windows, level)
    parts = [pooled[level].flatten(2) for level in levels]
    if layout == "bin_major":
        parts = [part.transpose(1, 2) for part in parts]
    return torch.cat([part.flatten(1) for part in parts], dim=1)


@functools.cache
def _is_exact(level: int, longest: int) -> bool:
    """Tell whether torchvision's bins, computed in float32, are the exact ones up to a size.

    They are for 1, 2, 3 and 6 bins of up to 399 cells, but not for 7 bins of 57.
    """
    sizes = torch.arange(1, longest + 1)[:, None]
    index = torch.arange(level)[None, :]
    width = sizes.float() / level
    starts = torch.equal((index * width).floor().long(), index * sizes // level)
    ends = torch.equal(((index + 1) * width).ceil().long(), -(-(index + 1) * sizes // level))
    return starts and ends


def _pool_one_by_one(
    values: Float[Tensor, "c h w"], windows: Int[Tensor, "r 4"], level: int
) -> Float[Tensor, "r c n n"]:
    """Pool window by window, slow and always exact."""
    pooled = [
        adaptive_max_pool2d(values[None, :, y1:y2, x1:x2].float(), level)
        for x1, y1, x2, y2 in windows.tolist()
    ]
    empty = values.new_zeros((0, values.shape[0], level, level), dtype=torch.float32)
    return torch.cat([empty, *pooled])


def _pool_compiled(
    compiled: ModuleType,
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
        compiled.pool_windows(cells, ranges, plan, pieces, begin, end, layout == "bin_major", out)
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


def _ordered_bits(
    values: Float[Tensor, "c h w"],
) -> tuple[np.ndarray[Any, np.dtype[Any]], int]:
    """Read a map as integers (rows, columns, channels) in the order of its floats.

    The bits of floats that are not negative are in order already; those of negative ones descend
    and are mirrored. Also gives the mask that mirrors them back in the float32 result, 0 for none.
    """
    if values.dtype == torch.bfloat16:
        integer, mirror, mask = torch.int16, 0x7FFF, 0x7FFF0000
    else:
        values, integer, mirror, mask = values.float(), torch.int32, 0x7FFFFFFF, 0x7FFFFFFF
    cells = values.detach().permute(1, 2, 0).contiguous().view(integer).numpy()
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
