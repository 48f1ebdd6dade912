"""The numba kernels of ``tall_matmul``: float32 or bfloat16 rows against a few float32 columns.

Each expands a tile of rows to float32 in the first cache and keeps its sums in registers. Loops run
over slices from 0, which numba can prove to stay inside and hence vectorises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.kernels.jit import jit

Array = NDArray[Any]
# A tile of eight rows is 16 KB of float32: it stays in a first-level cache of 32 KB.
TILE = 512
# So many rows share one expansion of the weights, and their sums are written out once.
CHUNK = 256
REORDERED = {"reassoc", "contract", "nsz"}
"""Sums may be reordered, or they could not be vectorised; what is not finite stays so."""


@jit(fastmath=REORDERED)
def _expand(source: Array, target: Array) -> None:
    """Copy float32; expand 16 bits of bfloat16: they are the upper halves of float32 numbers."""
    if source.itemsize == 2:  # known when compiled
        bits = target.view(np.uint32)
        for j in range(len(source)):
            bits[j] = np.uint32(source[j]) << np.uint32(16)
    else:
        for j in range(len(source)):
            target[j] = source[j]


@jit(fastmath=REORDERED)
def _dots(tile: Array, weights: Array, out: Array) -> None:
    """Add to ``out[4, k]`` the products of four rows with the weights, four at a time."""
    x0, x1, x2, x3 = tile[0], tile[1], tile[2], tile[3]
    for c in range(0, weights.shape[0], 4):
        w0, w1, w2, w3 = weights[c], weights[c + 1], weights[c + 2], weights[c + 3]
        # Eight loads feed sixteen products, and sixteen sums that do not wait for each other hide
        # the latency of an addition.
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
        c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = np.float32(0)
        for j in range(TILE):
            a0 += x0[j] * w0[j]
            a1 += x1[j] * w0[j]
            a2 += x2[j] * w0[j]
            a3 += x3[j] * w0[j]
            b0 += x0[j] * w1[j]
            b1 += x1[j] * w1[j]
            b2 += x2[j] * w1[j]
            b3 += x3[j] * w1[j]
            c0 += x0[j] * w2[j]
            c1 += x1[j] * w2[j]
            c2 += x2[j] * w2[j]
            c3 += x3[j] * w2[j]
            d0 += x0[j] * w3[j]
            d1 += x1[j] * w3[j]
            d2 += x2[j] * w3[j]
            d3 += x3[j] * w3[j]
        for i, sums in enumerate(
            ((a0, b0, c0, d0), (a1, b1, c1, d1), (a2, b2, c2, d2), (a3, b3, c3, d3))
        ):
            for column in range(4):
                out[i, c + column] += sums[column]


@jit(fastmath=REORDERED)
def _add_scaled(tile: Array, factors: Array, total: Array) -> None:
    """Add to ``total[k, TILE]`` eight rows times their factors; skip classes without any."""
    x0, x1, x2, x3 = tile[0], tile[1], tile[2], tile[3]
    # Eight rows for one pass: a total is loaded and stored once, not once per row.
    x4, x5, x6, x7 = tile[4], tile[5], tile[6], tile[7]
    for c in range(total.shape[0]):
        r0, r1, r2, r3 = factors[0, c], factors[1, c], factors[2, c], factors[3, c]
        r4, r5, r6, r7 = factors[4, c], factors[5, c], factors[6, c], factors[7, c]
        if r0 == r1 == r2 == r3 == r4 == r5 == r6 == r7 == 0:
            continue
        g = total[c]
        for j in range(TILE):
            upper = r0 * x0[j] + r1 * x1[j] + r2 * x2[j] + r3 * x3[j]
            g[j] += upper + r4 * x4[j] + r5 * x5[j] + r6 * x6[j] + r7 * x7[j]


@jit(fastmath=REORDERED)
def times(x: Array, weights: Array, out: Array) -> None:
    """Write ``x @ weights.T``; the number of weights is a multiple of four."""
    d = x.shape[1]
    k = weights.shape[0]
    tile = np.zeros((4, TILE), np.float32)
    part = np.zeros((k, TILE), np.float32)
    # Rows are taken in fours: the last four of a chunk may end behind it.
    sums = np.zeros((CHUNK + 3, k), np.float32)
    for first in range(0, len(x), CHUNK):
        n = min(CHUNK, len(x) - first)
        sums[:] = 0
        for column in range(0, d, TILE):
            end = min(d, column + TILE)
            # Zero weights cancel what an earlier tile left behind the last column, so that the
            # inner loop always has the same length, which the compiler knows.
            part[:, end - column :] = 0
            for c in range(k):
                _expand(weights[c, column:end], part[c])
            for row in range(0, n, 4):
                for i in range(min(4, n - row)):
                    _expand(x[first + row + i, column:end], tile[i])
                _dots(tile, part, sums[row : row + 4])
        out[first : first + n] = sums[:n]


@jit(fastmath=REORDERED)
def transposed(x: Array, factors: Array, out: Array, start: int, stop: int) -> None:
    """Add the columns ``start`` to ``stop`` of ``factors.T @ x`` to those of ``out``."""
    n = len(x)
    k = factors.shape[1]
    tile = np.zeros((8, TILE), np.float32)
    scale = np.zeros((8, k), np.float32)
    total = np.zeros((k, TILE), np.float32)
    for column in range(start, stop, TILE):
        end = min(stop, column + TILE)
        total[:] = 0
        for row in range(0, n, 8):
            rows = min(8, n - row)
            largest = np.float32(0)
            for i in range(8):
                for c in range(k):
                    scale[i, c] = factors[row + i, c] if i < rows else np.float32(0)
                    largest = max(largest, abs(scale[i, c]))
            # Rows on the right side of every margin have no factor: they are not even read.
            if largest == 0:
                continue
            for i in range(rows):
                _expand(x[row + i, column:end], tile[i])
            _add_scaled(tile, scale, total)
        for c in range(k):
            for j in range(end - column):
                out[c, column + j] += total[c, j]
