"""The compiled inner loops of RoIAlign: samples between cells, and the way back of their gradients.

A sample is a weighted sum of four cells, all channels at once: cells lie channels last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.kernels.jit import jit

Array = NDArray[Any]
SAMPLES = 2
"""Along each side of a bin: the paper takes four regular places in it."""
BLOCK = 64
"""Channels whose gradients are spread at a time: of a map of 25 x 38 cells 243 KB."""
PADDING = 24
"""Elements after each row of bins, so that what is read column by column falls into different sets
of the cache."""
FUSED = {"contract"}
"""A product and a sum may become one instruction; the order of sums is that of the source."""


@jit(fastmath=FUSED)
def _place(low: float, high: float, count: int, index: int, size: int) -> tuple[int, int, float]:
    """Return the cells on both sides of a sample along one axis, and how much the second counts."""
    position = low + (high - low) * (index + 0.5) / count - 0.5
    position = min(max(position, 0.0), size - 1.0)
    first = int(position)
    return first, min(first + 1, size - 1), position - first


@jit(fastmath=FUSED)
def sample_bins(cells: Array, rois: Array, side: int, begin: int, end: int, out: Array) -> None:
    """Average the samples in the side x side bins of some boxes.

    Args:
        cells: (rows, columns, c) float32.
        rois: (r, 4) x1 y1 x2 y2, fractions of cells inside the map.
        side: of the grid of bins.
        begin: first box.
        end: one past the last box.
        out: (r, c, side * side) float32.
    """
    height, width, channels = cells.shape
    count, share = side * SAMPLES, np.float32(1.0 / (SAMPLES * SAMPLES))
    block = np.empty((side * side, channels + PADDING), np.float32)
    for r in range(begin, end):
        block[:] = 0
        for row in range(count):
            y0, y1, y = _place(rois[r, 1], rois[r, 3], count, row, height)
            for column in range(count):
                x0, x1, x = _place(rois[r, 0], rois[r, 2], count, column, width)
                bins = block[row // SAMPLES * side + column // SAMPLES]
                p, q = np.float32((1 - y) * (1 - x)) * share, np.float32((1 - y) * x) * share
                s, t = np.float32(y * (1 - x)) * share, np.float32(y * x) * share
                a, b, c, d = cells[y0, x0], cells[y0, x1], cells[y1, x0], cells[y1, x1]
                for k in range(channels):
                    bins[k] += p * a[k] + q * b[k] + s * c[k] + t * d[k]
        for k in range(channels):
            for i in range(side * side):
                out[r, k, i] = block[i, k]


@jit(fastmath=FUSED)
def spread_bins(gradient: Array, rois: Array, side: int, begin: int, end: int, out: Array) -> None:
    """Add the gradients of bins to those of the cells that they sampled, for some channels.

    Args:
        gradient: (r, c, side * side) float32.
        rois: (r, 4), as for `sample_bins`.
        side: of the grid of bins.
        begin: first channel.
        end: one past the last channel.
        out: (rows, columns, c) float32.
    """
    height, width = out.shape[:2]
    count, share = side * SAMPLES, np.float32(1.0 / (SAMPLES * SAMPLES))
    bins = np.empty((side * side, BLOCK), np.float32)
    for first in range(begin, end, BLOCK):
        length = min(BLOCK, end - first)
        for r in range(len(rois)):
            for k in range(length):
                for i in range(side * side):
                    bins[i, k] = gradient[r, first + k, i] * share
            for row in range(count):
                y0, y1, y = _place(rois[r, 1], rois[r, 3], count, row, height)
                for column in range(count):
                    x0, x1, x = _place(rois[r, 0], rois[r, 2], count, column, width)
                    g = bins[row // SAMPLES * side + column // SAMPLES]
                    p, q = np.float32((1 - y) * (1 - x)), np.float32((1 - y) * x)
                    s, t = np.float32(y * (1 - x)), np.float32(y * x)
                    a = out[y0, x0, first : first + length]
                    b = out[y0, x1, first : first + length]
                    c = out[y1, x0, first : first + length]
                    d = out[y1, x1, first : first + length]
                    for k in range(length):
                        a[k] += p * g[k]
                    for k in range(length):
                        b[k] += q * g[k]
                    for k in range(length):
                        c[k] += s * g[k]
                    for k in range(length):
                        d[k] += t * g[k]
