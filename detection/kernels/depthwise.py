"""The compiled loop of a depthwise convolution's gradient with respect to its weights.

A weight's gradient is the sum, over all cells, of the output's gradient there times the input that
the weight met. Channels have nothing to do with each other: the loop takes some of them at a time,
expands their rows to float32 in the caches and adds the products up there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.kernels.jit import jit

Array = NDArray[Any]
BLOCK = 64
"""Channels at a time: eight cells of the gradient and the 16 that five weights two cells apart meet
are 6 KB of float32, and stay in a first-level cache."""
CELLS = 8
"""Cells per pass: a pass loads and stores the sums, so that eight cells share that traffic."""
FUSED = {"contract"}
"""A product and a sum may become one instruction; the order of sums is that of the source."""


@jit(fastmath=FUSED)
def _expand(source: Array, target: Array) -> None:
    """Copy the rows of channels that ``source`` has; bfloat16 comes as the bits of its floats."""
    cells, channels = source.shape
    for column in range(cells):
        row, out = source[column], target[column]
        if source.itemsize == 2:  # known when compiled
            bits = out.view(np.uint32)
            for c in range(channels):
                bits[c] = np.uint32(row[c]) << np.uint32(16)
        else:
            for c in range(channels):
                out[c] = row[c]


@jit(fastmath=FUSED)
def _add_products(x: Array, gradient: Array, dilation: int, total: Array) -> None:
    """Add to ``total[side, BLOCK]`` the products of a row of the input and one of the gradient.

    Both are flat, the gradient a whole number of passes. Unsigned indices spare numba the check for
    negative ones, and the loop over channels is vectorised.
    """
    step = np.uint64(BLOCK)
    # All weights of a row meet the same few cells before the next pass: they stay in the cache.
    for start in range(0, len(gradient), CELLS * BLOCK):
        gs = gradient[start : start + CELLS * BLOCK]
        for j in range(len(total)):
            first = start + j * dilation * BLOCK
            xs, out = x[first : first + CELLS * BLOCK], total[j]
            for c in range(step):
                sums = out[c]
                for cell in range(np.uint64(0), np.uint64(CELLS)):
                    sums += xs[c + cell * step] * gs[c + cell * step]
                out[c] = sums


@jit(fastmath=FUSED)
def weight_gradient(
    x: Array, gradient: Array, shape: tuple[int, int, int], begin: int, end: int, out: Array
) -> None:
    """Write some parts of the weights' gradient, one for each image and block of channels.

    Args:
        x: (n, h, w, c) input, float32 or the bits of bfloat16 as uint16.
        gradient: (n, h', w', c) gradient of the output, of the same type.
        shape: side of the kernel, dilation, zeros on every side of the input.
        begin: first part; part ``image * blocks + block`` has ``BLOCK`` channels of an image.
        end: one past the last part.
        out: (n, side * side, c) float32.
    """
    side, dilation, padding = shape
    height, width, channels = x.shape[1:]
    rows, columns = gradient.shape[1:3]
    blocks = (channels + BLOCK - 1) // BLOCK
    # Zeros left and right of the input, whose sums need no bounds then, and behind the last column
    # of the gradient, up to a whole pass.
    reach = dilation * (side - 1)
    length = (columns + CELLS - 1) // CELLS * CELLS
    line = np.zeros((length, BLOCK), np.float32)
    # A row of the input is expanded once and kept for as long as a weight meets it.
    kept = np.zeros((reach + 1, length + reach, BLOCK), np.float32)
    total = np.empty((side * side, BLOCK), np.float32)
    for part in range(begin, end):
        image, first = part // blocks, part % blocks * BLOCK
        last = min(channels, first + BLOCK)
        # What a wider block left behind the last channel is summed too, but not written out.
        total[:] = 0
        expanded = 0
        for y in range(rows):
            while expanded < min(height, y + reach - padding + 1):
                cells = kept[expanded % (reach + 1), padding : padding + width]
                _expand(x[image, expanded, :, first:last], cells)
                expanded += 1
            _expand(gradient[image, y, :, first:last], line)
            for i in range(side):
                above = y + i * dilation - padding
                if 0 <= above < height:
                    met = kept[above % (reach + 1)].reshape(-1)
                    _add_products(met, line.reshape(-1), dilation, total[i * side : (i + 1) * side])
        for t in range(side * side):
            for c in range(last - first):
                out[image, t, first + c] = total[t, c]
