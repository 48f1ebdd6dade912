"""ReLU, local response normalisation inside each channel and max-pooling in one pass over a map.

One after the other, torch's operations read and write the map of the first conv layer, 60 MB of an
image, a dozen times. Here each number is read once, and a quarter as many are written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detection.kernels.jit import jit

Array = np.ndarray[Any, np.dtype[Any]]

LIBERTIES = {"reassoc", "contract", "arcp", "afn"}
"""Sums in any order, and a reciprocal root from the processor's estimate; NaN stays NaN."""


@jit
def load_row(source: Array, target: Array) -> None:  # pragma: no cover
    """Write the ReLU of a row in float32; 16 bits are a bfloat16, the upper half of one.

    A zero is never negative, and NaN stays NaN.
    """
    bits = target.view(np.uint32)
    if source.itemsize == 2:  # known when compiled
        for j in range(len(source)):
            bits[j] = np.uint32(source[j]) << np.uint32(16)
    else:
        for j in range(len(source)):
            bits[j] = np.uint32(source[j])
    for j in range(len(target)):
        value = target[j]
        target[j] = np.float32(0) if value <= np.float32(0) else value


@jit(fastmath=LIBERTIES)
def normalise_row(
    above: Array, here: Array, below: Array, channels: int, factor: float, sums: Array, out: Array
) -> None:  # pragma: no cover
    """Write ``x * (1 + factor * s) ** -0.75``, s the sum of the squares of 3 x 3 neighbours.

    ``sums`` is scratch: a row with a pixel more on both sides, which are zero.
    """
    width = len(here)
    inner = sums[channels : channels + width]
    scale, one = np.float32(factor), np.float32(1)
    for j in range(width):
        inner[j] = above[j] * above[j] + here[j] * here[j] + below[j] * below[j]
    left, right = sums[:width], sums[2 * channels :]
    for j in range(width):
        root = one / np.sqrt(one + scale * (left[j] + inner[j] + right[j]))
        out[j] = here[j] * root * np.sqrt(root)


@jit
def store_row(row: Array, channels: int, out: Array) -> None:  # pragma: no cover
    """Write the maxima of three pixels of each two; 16 bits are rounded to the nearest even."""
    width = len(row) // channels
    for i in range(len(out) // channels):
        a = row[2 * i * channels : (2 * i + 1) * channels]
        middle, last = min(2 * i + 1, width - 1), min(2 * i + 2, width - 1)
        b = row[middle * channels : (middle + 1) * channels]
        c = row[last * channels : (last + 1) * channels]
        target = out[i * channels : (i + 1) * channels]
        if out.itemsize == 2:  # known when compiled
            for k in range(channels):
                value = max(a[k], b[k], c[k])
                even = (value >> np.uint32(16)) & np.uint32(1)
                # A NaN must not be rounded up to nothing: its lower half is zero here.
                target[k] = (value + np.uint32(0x7FFF) + even) >> np.uint32(16)
        else:
            for k in range(channels):
                target[k] = max(a[k], b[k], c[k])


@jit
def pool_rows(
    x: Array, channels: int, height: int, factor: float, begin: int, end: int, out: Array
) -> None:  # pragma: no cover
    """Write some rows of the pooled map: maxima over 3 x 3, every two pixels, to the last pixel.

    What is normalised is not negative, so that the order of its bits, without sign, is that of the
    numbers, and NaN is the largest of all.

    Args:
        x: bits of float32 or bfloat16, without sign, (images times rows, columns times channels).
        channels: how many numbers lie between neighbours of a row.
        height: rows of an image; beyond its edges all is zero.
        factor: of the sum of squares.
        begin: first row of the result.
        end: one past the last row.
        out: bits, (images times pooled rows, pooled columns times channels).
    """
    width = x.shape[1]
    pooled = height // 2
    ring = np.zeros((3, width), np.float32)
    zero, normal = np.zeros(width, np.float32), np.empty(width, np.float32)
    sums = np.zeros(width + 2 * channels, np.float32)
    bits, best = normal.view(np.uint32), np.zeros(width, np.uint32)
    for r in range(begin, end):
        image, i = r // pooled, r % pooled
        start = image * height
        fresh = r == begin or i == 0
        if fresh:  # otherwise these rows are there from the row before
            for y in range(max(0, 2 * i - 1), min(2 * i + 1, height)):
                load_row(x[start + y], ring[y % 3])
        if fresh:
            best[:] = 0
        else:
            best[:] = bits  # the last row of one window is the first of the next
        for y in range(2 * i if fresh else 2 * i + 1, min(2 * i + 3, height)):
            if y + 1 < height:
                load_row(x[start + y + 1], ring[(y + 1) % 3])
            above = ring[(y + 2) % 3] if y > 0 else zero
            below = ring[(y + 1) % 3] if y + 1 < height else zero
            normalise_row(above, ring[y % 3], below, channels, factor, sums, normal)
            for j in range(width):
                best[j] = max(best[j], bits[j])
        store_row(best, channels, out[r])
