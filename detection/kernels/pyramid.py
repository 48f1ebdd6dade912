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
