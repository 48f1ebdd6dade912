"""The numba kernels of ``skinny``: float32 or bfloat16 rows against a few float32 columns.

Each expands a tile of rows to float32 in the first cache and keeps its sums in registers; a generic
matrix library takes some six times longer at twenty columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

Array = np.ndarray[Any, Any]
TILE = 512
CHUNK = 64
FAST = {"reassoc", "contract", "nsz"}


@njit(inline="always")  # type: ignore[untyped-decorator]
def _expand(x: Array, row: int, rows: int, column: int, width: int, tile: Array) -> None:
    """Copy a tile to float32; rows beyond the last become zero."""
    for i in range(tile.shape[0]):
        if i < rows:
            for j in range(width):
                tile[i, j] = x[row + i, column + j]
        else:
            for j in range(width):
                tile[i, j] = 0.0


@njit(inline="always")  # type: ignore[untyped-decorator]
def _expand_bits(x: Array, row: int, rows: int, column: int, width: int, tile: Array) -> None:
    """Copy a tile of bfloat16 bits, which are the upper halves of float32 numbers."""
    bits = tile.view(np.uint32)
    for i in range(tile.shape[0]):
        if i < rows:
            for j in range(width):
                bits[i, j] = np.uint32(x[row + i, column + j]) << np.uint32(16)
        else:
            for j in range(width):
                bits[i, j] = 0


def _make_times(expand: Any) -> Any:
    @njit(parallel=True, fastmath=FAST, cache=True)  # type: ignore[untyped-decorator]
    def times(x: Array, weights: Array, out: Array) -> None:
        n, d = x.shape
        k = weights.shape[0]
        for chunk in prange((n + CHUNK - 1) // CHUNK):
            tile = np.empty((4, TILE), np.float32)
            first, last = chunk * CHUNK, min(n, (chunk + 1) * CHUNK)
            out[first:last] = 0.0
            for column in range(0, d, TILE):
                width = min(TILE, d - column)
                for row in range(first, last, 4):
                    rows = min(4, last - row)
                    expand(x, row, rows, column, width, tile)
                    x0, x1, x2, x3 = tile[0], tile[1], tile[2], tile[3]
                    for c in range(0, k, 2):
                        other = min(c + 1, k - 1)
                        w, v = (
                            weights[c, column : column + width],
                            weights[other, column : column + width],
                        )
                        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
                        for j in range(width):
                            wj, vj = w[j], v[j]
                            a0 += x0[j] * wj
                            a1 += x1[j] * wj
                            a2 += x2[j] * wj
                            a3 += x3[j] * wj
                            b0 += x0[j] * vj
                            b1 += x1[j] * vj
                            b2 += x2[j] * vj
                            b3 += x3[j] * vj
                        sums = (a0, a1, a2, a3)
                        more = (b0, b1, b2, b3)
                        for i in range(rows):
                            out[row + i, c] += sums[i]
                            if other > c:
                                out[row + i, other] += more[i]

    return times


def _make_transposed(expand: Any) -> Any:
    @njit(parallel=True, fastmath=FAST, cache=True)  # type: ignore[untyped-decorator]
    def transposed(x: Array, factors: Array, out: Array) -> None:
        n, d = x.shape
        k = factors.shape[1]
        for t in prange((d + TILE - 1) // TILE):
            tile = np.empty((8, TILE), np.float32)
            r = np.zeros(8, np.float32)
            column = t * TILE
            width = min(TILE, d - column)
            total = np.zeros((k, TILE), np.float32)
            for row in range(0, n, 8):
                rows = min(8, n - row)
                expand(x, row, rows, column, width, tile)
                x0, x1, x2, x3 = tile[0], tile[1], tile[2], tile[3]
                x4, x5, x6, x7 = tile[4], tile[5], tile[6], tile[7]
                for c in range(k):
                    any_factor = False
                    for i in range(8):
                        r[i] = factors[row + i, c] if i < rows else np.float32(0)
                        any_factor |= r[i] != 0
                    if not any_factor:
                        continue
                    r0, r1, r2, r3, r4, r5, r6, r7 = r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]
                    g = total[c]
                    for j in range(width):
                        g[j] += (
                            r0 * x0[j]
                            + r1 * x1[j]
                            + r2 * x2[j]
                            + r3 * x3[j]
                            + r4 * x4[j]
                            + r5 * x5[j]
                            + r6 * x6[j]
                            + r7 * x7[j]
                        )
            out[:, column : column + width] += total[:, :width]

    return transposed


times_float32 = _make_times(_expand)
times_bfloat16 = _make_times(_expand_bits)
transposed_float32 = _make_transposed(_expand)
transposed_bfloat16 = _make_transposed(_expand_bits)
