"""The pyramid pooling of a GPU as two Triton kernels; importing this module needs Triton.

A program is one warp. It pools one window for 32 or 64 channels, one or two a thread, and keeps all
bins of a level in registers: a block of (rows of bins, columns of bins, channels) whose sides are
the next powers of two. It walks the cells of all bins together: first each bin's upper left cell,
then the one to its right, and so on, so that there are as many loads in flight as bins. Bins of one
window differ by a cell or two in size; one that has no more cells reads its last one again, which
changes no maximum. Levels that divide this one are merged in the registers of the thread, at one
comparison per bin.

What bounds it is memory. 2,000 windows of 256 channels in 50 bins are 102 MB to write: 30
microseconds at 3.35 TB/s, and nothing saves a byte of that. The map is 2 MB, stays in the caches
and is read about twice a cell of a window. A warp reads whole lines of 128 bytes, and the channel
block is the slow axis of the grid: all programs of a moment read the same part of the map, of which
the first-level caches hold much. The output of a level goes out as (channels, bins), the order it
has in memory, not as the bins come.
"""

# ruff: noqa: PLR0913 - a kernel takes pointers, sizes and constants one by one

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any, TypeVar, cast

import triton
import triton.language as tl

F = TypeVar("F", bound=Callable[..., Any])

LANES = tl.constexpr(32)
"""Threads of a warp, which channels are spread over."""


def kernel(function: F) -> Any:
    """Compile a function without the type checks that tests wrap around it.

    Not once more for each kind of size: the sides of a map take many values. Nor may the compiler
    know that the channels divide by more than ``vector``: it would spread the bins over threads to
    read more channels in each, and merging levels would take shuffles.
    """
    plain = unwrap(function)
    return cast(Any, triton.jit(plain, do_not_specialize=["rows", "columns", "groups"]))


def part(function: F) -> Any:
    """Compile a function that kernels call."""
    return cast(Any, triton.jit(unwrap(function)))


@part
def window_at(
    windows: tl.tensor, rows: tl.tensor, columns: tl.tensor
) -> tl.tensor:  # pragma: no cover
    """Read this program's window: x, y, width, height, and whether it lies inside the map.

    A host cannot look at windows on a device without waiting for it, so that one that is empty or
    leaves the map is met here: the first cell is read in its place.
    """
    window = windows + tl.program_id(0).to(tl.int64) * 4
    x1, y1 = tl.load(window), tl.load(window + 1)
    x2, y2 = tl.load(window + 2), tl.load(window + 3)
    valid = (x1 >= 0) & (y1 >= 0) & (x2 > x1) & (y2 > y1) & (x2 <= columns) & (y2 <= rows)
    x = tl.where(valid, x1, 0).to(tl.int32)
    y = tl.where(valid, y1, 0).to(tl.int32)
    width = tl.where(valid, x2 - x1, 1).to(tl.int32)
    height = tl.where(valid, y2 - y1, 1).to(tl.int32)
    return x, y, width, height, valid


@part
def edges(start: tl.tensor, size: tl.tensor, side: tl.constexpr) -> tl.tensor:  # pragma: no cover
    """Compute the first and the last cell of each bin along one axis, and the longest bin."""
    i = tl.arange(0, triton.next_power_of_2(side))
    first = i * size // side
    end = ((i + 1) * size + side - 1) // side
    longest = tl.max(tl.where(i < side, end - first, 0), axis=0)
    return start + first, start + end - 1, longest


@part
def ordered(tile: tl.tensor) -> tl.tensor:  # pragma: no cover
    """Read float32 as int32 in the order of the floats; NaN is the largest."""
    bits = tile.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@part
def merge(
    block: tl.tensor,
    side: tl.constexpr,
    level: tl.constexpr,
) -> tl.tensor:  # pragma: no cover
    """Compute the bins of a coarser level from a block of integers: rows first, then columns."""
    if level == side:
        return block
    padded: tl.constexpr = triton.next_power_of_2(side)
    small: tl.constexpr = triton.next_power_of_2(level)
    lowest: tl.constexpr = -(2 ** (block.dtype.primitive_bitwidth - 1))
    step: tl.constexpr = side // level
    group = tl.arange(0, padded) // step
    bins = tl.arange(0, small)
    channels: tl.constexpr = block.shape[2]
    by_row = tl.full([small, padded, channels], lowest, block.dtype)
    for k in tl.static_range(level):
        row = tl.max(tl.where((group == k)[:, None, None], block, lowest), axis=0)
        by_row = tl.where((bins == k)[:, None, None], row[None, :, :], by_row)
    result = tl.full([small, small, channels], lowest, block.dtype)
    for k in tl.static_range(level):
        column = tl.max(tl.where((group == k)[None, :, None], by_row, lowest), axis=1)
        result = tl.where((bins == k)[None, :, None], column[:, None, :], result)
    return result


@part
def offsets_of(
    c: tl.tensor,
    channels: tl.tensor,
    level: tl.constexpr,
    bin_major: tl.constexpr,
) -> tl.tensor:  # pragma: no cover
    """Compute the offsets of a level's values in its part of a row, (channels, bins, bins)."""
    i = tl.arange(0, triton.next_power_of_2(level))
    bins = (i[:, None] * level + i[None, :])[None, :, :]
    inside = (i < level)[None, :, None] & (i < level)[None, None, :] & (c < channels)[:, None, None]
    if bin_major:
        return bins * channels + c[:, None, None], inside
    return c[:, None, None] * (level * level) + bins, inside


@part
def unpadded(
    c: tl.tensor, channels: tl.tensor, side: tl.constexpr
) -> tl.tensor:  # pragma: no cover
    """Mark the bins and channels of a block (bins, bins, channels) that are no padding."""
    i = tl.arange(0, triton.next_power_of_2(side))
    return (i < side)[:, None, None] & (i < side)[None, :, None] & (c < channels)[None, None, :]


@part
def pooled_bins(
    values: tl.tensor,
    window: tl.tuple,
    c: tl.tensor,
    columns: tl.tensor,
    channels: tl.tensor,
    side: tl.constexpr,
) -> tl.tensor:  # pragma: no cover
    """Compute the bins of one level from the map, as integers in the order of the floats."""
    x, y, width, height, valid = window
    padded: tl.constexpr = triton.next_power_of_2(side)
    lowest = tl.where(valid, float("-inf"), float("nan"))
    top, bottom, tall = edges(y, height, side)
    left, right, wide = edges(x, width, side)
    used = unpadded(c, channels, side)
    tile = tl.zeros([padded, padded, c.shape[0]], tl.float32) + lowest
    for dy in range(tall):
        row = tl.minimum(top + dy, bottom) * columns
        for dx in range(wide):
            cell = row[:, None] + tl.minimum(left + dx, right)[None, :]
            offset = cell[:, :, None] * channels + c[None, None, :]
            value = tl.load(values + offset, mask=used, other=float("-inf")).to(tl.float32)
            tile = tl.maximum(tile, value, propagate_nan=tl.PropagateNan.ALL)
    return ordered(tile)


@part
def best_cells(
    values: tl.tensor,
    window: tl.tuple,
    c: tl.tensor,
    columns: tl.tensor,
    channels: tl.tensor,
    side: tl.constexpr,
) -> tl.tensor:  # pragma: no cover
    """Compute value and cell of each bin's maximum as one integer.

    The value stands above, the cell below, descending: the largest integer is the first cell of the
    largest value, in a union of bins too.
    """
    x, y, width, height, _ = window
    padded: tl.constexpr = triton.next_power_of_2(side)
    top, bottom, tall = edges(y, height, side)
    left, right, wide = edges(x, width, side)
    used = unpadded(c, channels, side)
    tile = tl.full([padded, padded, c.shape[0]], float("-inf"), tl.float32)
    first = tl.zeros([padded, padded, c.shape[0]], tl.int32)
    first += ((top * columns)[:, None] + left[None, :])[:, :, None]
    for dy in range(tall):
        row = tl.minimum(top + dy, bottom) * columns
        for dx in range(wide):
            cell = (row[:, None] + tl.minimum(left + dx, right)[None, :])[:, :, None]
            offset = cell * channels + c[None, None, :]
            value = tl.load(values + offset, mask=used, other=float("-inf")).to(tl.float32)
            better = value > tile
            tile = tl.where(better, value, tile)
            first = tl.where(better, cell, first)
    above = ordered(tile + 0.0).to(tl.int64) << 32  # the sum makes -0.0 equal to 0.0
    return above | (0x7FFFFFFF - first).to(tl.int64)


@part
def store_level(
    out: tl.tensor,
    bits: tl.tensor,
    c: tl.tensor,
    channels: tl.tensor,
    side: tl.constexpr,
    level: tl.constexpr,
    bin_major: tl.constexpr,
) -> None:  # pragma: no cover
    """Write one level of a window, merged from the block of a finer one where it is coarser."""
    merged = merge(bits, side, level)
    merged = merged ^ ((merged >> 31) & 0x7FFFFFFF)
    result = tl.permute(merged.to(tl.float32, bitcast=True), (2, 0, 1))
    offset, inside = offsets_of(c, channels, level, bin_major)
    tl.store(out + offset, result, mask=inside)


@part
def add_level(
    out: tl.tensor,
    gradient: tl.tensor,
    keys: tl.tensor,
    window: tl.tuple,
    c: tl.tensor,
    channels: tl.tensor,
    side: tl.constexpr,
    level: tl.constexpr,
    bin_major: tl.constexpr,
) -> None:  # pragma: no cover
    """Add the gradient of one level of a window to the cells of its maxima."""
    merged = merge(keys, side, level)
    cell = 0x7FFFFFFF - (merged & 0x7FFFFFFF).to(tl.int32)
    offset, inside = offsets_of(c, channels, level, bin_major)
    # A window outside the map was replaced by its first cell: it must not train that.
    added = tl.load(gradient + offset, mask=inside & window[4], other=0.0)
    added = tl.permute(added, (1, 2, 0))  # neighbouring channels often have the same cell
    target = out + cell * channels + c[None, None, :]
    # Zeros need no memory traffic; nobody reads a sum before the launch ends, so that the order of
    # memory operations may stay relaxed.
    tl.atomic_add(target, added, mask=added != 0, sem="relaxed")


@kernel
def pool_windows(
    values: tl.tensor,
    windows: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    groups: tl.tensor,
    length: tl.tensor,
    sides: tl.constexpr,
    levels: tl.constexpr,
    sources: tl.constexpr,
    starts: tl.constexpr,
    bin_major: tl.constexpr,
    vector: tl.constexpr,
) -> None:  # pragma: no cover
    """Pool one window for some channels.

    Args:
        values: (rows, columns, channels) floats.
        windows: (r, 4) half-open.
        out: (r, length) float32.
        rows: of the map.
        columns: of the map.
        groups: channels of the map divided by ``vector``.
        length: values per window.
        sides: the levels that are pooled from the map.
        levels: the levels to write.
        sources: for each level to write, which of ``sides`` it is merged from.
        starts: for each level to write, how many bins stand before it in a row of the output.
        bin_major: write (bin, channel) instead of (channel, bin) within a level.
        vector: channels of a thread.
    """
    window = window_at(windows, rows, columns)
    channels = groups * vector
    c = tl.program_id(1) * (LANES * vector) + tl.arange(0, LANES * vector)
    # In 64 bits: 170,000 windows of 12,800 numbers pass 2**31.
    out += tl.program_id(0).to(tl.int64) * length
    for k in tl.static_range(len(sides)):
        bits = pooled_bins(values, window, c, columns, channels, sides[k])
        for n in tl.static_range(len(levels)):
            if sources[n] == k:
                target = out + starts[n] * channels
                store_level(target, bits, c, channels, sides[k], levels[n], bin_major)


@kernel
def spread_gradient(
    values: tl.tensor,
    windows: tl.tensor,
    gradient: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    groups: tl.tensor,
    length: tl.tensor,
    sides: tl.constexpr,
    levels: tl.constexpr,
    sources: tl.constexpr,
    starts: tl.constexpr,
    bin_major: tl.constexpr,
    vector: tl.constexpr,
) -> None:  # pragma: no cover
    """Add the gradient of each bin to the cell that is its maximum, the first of equal ones.

    The cells are found again, as cheaply as they would be read back. Additions are atomic: their
    order, and with it the last bits of a sum, differ from run to run.

    Args:
        values: (rows, columns, channels) floats.
        windows: (r, 4) half-open.
        gradient: (r, length) float32, of the pooled values.
        out: (rows, columns, channels) float32, of the map; added to.
        rows: as in ``pool_windows``.
        columns: as in ``pool_windows``.
        groups: as in ``pool_windows``.
        length: as in ``pool_windows``.
        sides: as in ``pool_windows``.
        levels: as in ``pool_windows``.
        sources: as in ``pool_windows``.
        starts: as in ``pool_windows``.
        bin_major: as in ``pool_windows``.
        vector: as in ``pool_windows``.
    """
    window = window_at(windows, rows, columns)
    channels = groups * vector
    c = tl.program_id(1) * (LANES * vector) + tl.arange(0, LANES * vector)
    gradient += tl.program_id(0).to(tl.int64) * length
    for k in tl.static_range(len(sides)):
        keys = best_cells(values, window, c, columns, channels, sides[k])
        for n in tl.static_range(len(levels)):
            if sources[n] == k:
                level_gradient = gradient + starts[n] * channels
                add_level(
                    out, level_gradient, keys, window, c, channels, sides[k], levels[n], bin_major
                )
