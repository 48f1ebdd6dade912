"""The compiled loops around a product of 8-bit numbers, each one pass over the memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.kernels.jit import jit

_INFINITY = 0x7F800000
"""The bits of a float32 infinity; those of NaN are larger."""


@jit
def round_rows(  # pragma: no cover
    source: NDArray[Any],
    start: int,
    target: NDArray[Any],
    steps: NDArray[Any],
    zeros: NDArray[Any],
) -> None:
    """Write columns of each row as whole numbers of 0..255, as many as the target has.

    0 becomes one of them, and both ends of the range of the columns do.

    Args:
        source: float32 (n, d).
        start: the first column.
        target: uint8 (n, w).
        steps: float32 (n,), gets the value of a step of each row; NaN where the row is not finite.
        zeros: float32 (n,), gets the whole number that 0 becomes.
    """
    lowest, highest = np.float32(0), np.float32(255)
    half, one = np.float32(0.5), np.float32(1)
    bits = source.view(np.int32)
    ends = np.zeros(2, np.int32)
    values = ends.view(np.float32)
    stop = start + target.shape[1]
    for i in range(len(source)):
        low = high = 0
        for word in bits[i][start:stop]:
            # Of negative floats the larger has the smaller bits. Whole numbers may be compared in
            # any order, many at a time, and the bits of NaN beat those of all floats.
            key = word ^ ((word >> 31) & 0x7FFFFFFF)
            low = min(low, key)
            high = max(high, key)
        if high >= _INFINITY or low <= -_INFINITY - 1:
            steps[i], zeros[i] = np.float32(np.nan), lowest
            target[i] = 0
            continue
        ends[0], ends[1] = low ^ ((low >> 31) & 0x7FFFFFFF), high
        step = max((values[1] - values[0]) / highest, np.float32(1e-12))
        factor = one / step
        zero = np.floor(half - values[0] * factor)
        shift = zero + half
        steps[i], zeros[i] = step, zero
        row, out = source[i][start:stop], target[i]
        for j in range(len(row)):
            value = row[j] * factor + shift
            out[j] = np.uint8(np.int32(min(max(value, lowest), highest)))


@jit
def scale_rows(  # pragma: no cover
    sums: NDArray[Any],
    steps: NDArray[Any],
    zeros: NDArray[Any],
    scale: NDArray[Any],
    weights: NDArray[Any],
    before: NDArray[Any],
    floor: np.float32,
) -> None:
    """Turn sums of whole numbers into what they stand for, in place.

    Args:
        sums: float32 (n, f), the products of rows and weights.
        steps: of each row, see `round_rows`.
        zeros: of each row.
        scale: the value of a step of each output's weights.
        weights: the sum of each output's weights, in steps.
        before: what is added: of each row and output, or one row for all.
        floor: the least value of an output: 0 is a ReLU.
    """
    for i in range(len(sums)):
        row, step, zero = sums[i], steps[i], zeros[i]
        base = before[i if len(before) > 1 else 0]
        for j in range(len(row)):
            value = (row[j] - zero * weights[j]) * (step * scale[j]) + base[j]
            row[j] = floor if value < floor else value
