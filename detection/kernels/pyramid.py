"""The compiled inner loops of pyramid pooling.

A map is read as integers whose order is the order of the floats, so that one kernel serves float32
and bfloat16, and a maximum is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detection.kernels.jit import jit

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[int, int]

PADDING = 24
"""Elements after each row of the scratch block, which `store` reads column by column. Rows of 256
float32 would lie 1,024 bytes apart: in 4 of the 64 sets of a first-level cache, which hold 32 lines
for the 50 bins of a window. With 24 elements more, neighbouring rows fall into different sets."""

SPREAD = 16
"""Channels whose gradients are spread at a time: of a map of 38 x 50 cells 122 KB."""


@jit
def fill_bins(  # pragma: no cover
    cells: Array, corner: Pair, size: Pair, side: int, block: Array, start: int, channels: int
) -> None:
    """Pool one window into side x side bins, two cells at a time, all channels at once."""
    x0, y0 = corner
    width, height = size
    for i in range(side):
        top = y0 + i * height // side
        bottom = y0 + ((i + 1) * height + side - 1) // side
        for j in range(side):
            left = x0 + j * width // side
            right = x0 + ((j + 1) * width + side - 1) // side
            out = block[start + i * side + j]
            # Two cells per pass: a pass loads and stores the whole bin, so that two halve that
            # traffic. The first two start the bin, which then needs no initial value. A bin one
            # cell wide has no second column: its first and last cell start it.
            if right - left == 1:
                a, b = cells[top, left], cells[bottom - 1, left]
                for c in range(channels):
                    out[c] = max(a[c], b[c])
                for y in range(top + 1, bottom - 1):
                    a = cells[y, left]
                    for c in range(channels):
                        out[c] = max(out[c], a[c])
                continue
            a, b = cells[top, left], cells[top, left + 1]
            for c in range(channels):
                out[c] = max(a[c], b[c])
            x = left + 2
            for y in range(top, bottom):
                while x + 1 < right:
                    a, b = cells[y, x], cells[y, x + 1]
                    for c in range(channels):
                        out[c] = max(out[c], a[c], b[c])
                    x += 2
                if x < right:
                    a = cells[y, x]
                    for c in range(channels):
                        out[c] = max(out[c], a[c])
                x = left


@jit
def merge_bins(  # pragma: no cover
    block: Array, source: int, source_side: int, side: int, start: int, channels: int
) -> None:
    """Compute a coarser level: each of its bins is the union of step x step finer ones."""
    step = source_side // side
    for i in range(side):
        for j in range(side):
            out = block[start + i * side + j]
            first = source + i * step * source_side + j * step
            a, b = block[first], block[first + 1]
            for c in range(channels):
                out[c] = max(a[c], b[c])
            for y in range(step):
                for x in range(step):
                    # The first two started the bin.
                    if y > 0 or x > 1:
                        a = block[first + y * source_side + x]
                        for c in range(channels):
                            out[c] = max(out[c], a[c])


@jit
def store(  # pragma: no cover
    block: Array, pieces: Array, channels: int, widen: bool, bin_major: bool, row: Array
) -> None:
    """Write the levels of one window in the order and the width of the output."""
    position = 0
    for start, count in pieces:
        bins = block[start : start + count]
        out = row[position : position + count * channels]
        position += count * channels
        # Which case it is, is decided outside of the inner loops: without branches they vectorise.
        if bin_major:
            by_bin = out.reshape(count, channels)
            for i in range(count):
                if widen:
                    for c in range(channels):
                        by_bin[i, c] = np.int32(bins[i, c]) << 16
                else:
                    for c in range(channels):
                        by_bin[i, c] = bins[i, c]
        else:
            by_channel = out.reshape(channels, count)
            if widen:
                for c in range(channels):
                    for i in range(count):
                        by_channel[c, i] = np.int32(bins[i, c]) << 16
            else:
                for c in range(channels):
                    for i in range(count):
                        by_channel[c, i] = bins[i, c]


@jit
def pool_windows(  # pragma: no cover
    cells: Array,
    windows: Array,
    plan: Array,
    pieces: Array,
    begin: int,
    end: int,
    bin_major: bool,
    out: Array,
) -> None:
    """Pool some windows of a map.

    Args:
        cells: (rows, columns, channels) signed integers ordered as the floats are.
        windows: (r, 4) half-open.
        plan: (level, 4) side, first bin in the block of the finer level it is merged from or -1,
            first bin in the block, side of that finer level.
        pieces: (level, 2) first bin in the block and number of bins, in the order of the output.
        begin: first window.
        end: one past the last window.
        bin_major: write (bin, channel) instead of (channel, bin) within a level.
        out: (r, d) int32; 16-bit cells become the upper half.
    """
    channels = cells.shape[2]
    # A bfloat16 is the upper half of a float32: the maxima are found in 16 bits, twice as many per
    # register, and widened only when they are written.
    widen = cells.itemsize == 2
    bins = 0
    for side, _, start, _ in plan:
        bins = max(bins, start + side * side)
    # One block for all windows: it stays in the cache, where levels are merged from finer ones.
    block = np.empty((bins, channels + PADDING), cells.dtype)
    for r in range(begin, end):
        x0, y0 = windows[r, 0], windows[r, 1]
        width, height = windows[r, 2] - x0, windows[r, 3] - y0
        for side, source, start, source_side in plan:
            if source < 0:
                fill_bins(cells, (x0, y0), (width, height), side, block, start, channels)
            else:
                merge_bins(block, source, source_side, side, start, channels)
        store(block, pieces, channels, widen, bin_major, out[r])


@jit
def make_keys(cells: Array, begin: int, end: int, keys: Array) -> None:  # pragma: no cover
    """Write keys that are in the order of the values and, of equal ones, against that of the cells.

    The upper half is the value, the lower one counts the cells down: the maximum of keys is the
    first of the largest values, and says which cell that is.

    Args:
        cells: (cells, channels) bits of floats, signed.
        begin: first cell.
        end: one past the last cell.
        keys: (cells, channels) of twice the width.
    """
    half = cells.itemsize * 8
    zero = cells.dtype.type(0)
    largest = cells.dtype.type((1 << (half - 1)) - 1)
    for cell in range(begin, end):
        bits, out = cells[cell], keys[cell]
        below = keys.dtype.type((1 << half) - 1 - cell)
        for c in range(len(bits)):
            # -0.0, of which only the sign is set, becomes 0.0, which it equals.
            value = zero if bits[c] == ~largest else bits[c]
            ordered = value ^ ((value >> (half - 1)) & largest)
            out[c] = (keys.dtype.type(ordered) << half) | below


@jit
def split_keys(block: Array, bins: int, channels: int, places: Array) -> None:  # pragma: no cover
    """Replace the keys of one window by the bits of float32 values, and write their cells out."""
    half = block.itemsize * 4
    low = block.dtype.type((1 << half) - 1)
    # The upper 32 bits of a key; those of 32 bits are a bfloat16 above the number of the cell.
    shift, value = 2 * half - 32, np.int32(-65536 if half == 16 else -1)
    mirror = value & np.int32(0x7FFFFFFF)
    for i in range(bins):
        keys, place = block[i], places[i]
        for c in range(channels):
            place[c] = low - (keys[c] & low)
            bits = np.int32(keys[c] >> shift) & value
            keys[c] = bits ^ ((bits >> np.int32(31)) & mirror)


@jit
def pool_keys(  # pragma: no cover
    keys: Array,
    windows: Array,
    plan: Array,
    pieces: Array,
    begin: int,
    end: int,
    bin_major: bool,
    results: tuple[Array, Array],
) -> None:
    """Pool some windows of a map of keys; the other arguments are those of ``pool_windows``.

    Args:
        keys: (rows, columns, channels) of ``make_keys``.
        windows: (r, 4).
        plan: (level, 4).
        pieces: (level, 2).
        begin: first window.
        end: one past the last window.
        bin_major: the order of the output.
        results: (r, d) int32, the bits of float32 values, and (r, bins, channels) int32, the cell
            that the value of each bin of the block lies in, counted row by row.
    """
    out, places = results
    channels, bins = keys.shape[2], places.shape[1]
    block = np.empty((bins, channels + PADDING), keys.dtype)
    for r in range(begin, end):
        x0, y0 = windows[r, 0], windows[r, 1]
        width, height = windows[r, 2] - x0, windows[r, 3] - y0
        for side, source, start, source_side in plan:
            if source < 0:
                fill_bins(keys, (x0, y0), (width, height), side, block, start, channels)
            else:
                merge_bins(block, source, source_side, side, start, channels)
        split_keys(block, bins, channels, places[r])
        store(block, pieces, channels, False, bin_major, out[r])


@jit
def spread_gradient(  # pragma: no cover
    gradient: Array,
    places: Array,
    pieces: Array,
    bin_major: bool,
    begin: int,
    end: int,
    out: Array,
) -> None:
    """Add the gradient of each bin to the cell that its value lies in, for some of the channels.

    The sums of a cell are those of the windows in their order, whatever the channels of a call.

    Args:
        gradient: (r, d) float32.
        places: (r, bins, channels) of ``pool_keys``.
        pieces: (level, 2) of ``pool_windows``.
        bin_major: the order of the gradient.
        begin: first channel.
        end: one past the last channel.
        out: (cells, channels) float32, overwritten.
    """
    channels = out.shape[1]
    # The map of a few channels stays in the cache, where its cells are reached in any order.
    some = np.empty((len(out), SPREAD), np.float32)
    for first in range(begin, end, SPREAD):
        width = min(end - first, SPREAD)
        some[:] = 0
        for r in range(len(gradient)):
            row, position = gradient[r], 0
            for source, count in pieces:
                step, stride = (channels, 1) if bin_major else (1, count)
                for i in range(count):
                    place = places[r, source + i, first : first + width]
                    start = position + i * step + first * stride
                    for c in range(width):
                        some[place[c], c] += row[start + c * stride]
                position += count * channels
        for cell in range(len(out)):
            for c in range(width):
                out[cell, first + c] = some[cell, c]
