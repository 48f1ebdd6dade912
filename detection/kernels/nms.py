"""The numba kernels of per-class NMS: hard, bit for bit torchvision's on a CPU, or soft."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.kernels.jit import jit

Array = NDArray[Any]


@jit
def _sort(scores: Array, rows: Array) -> None:
    """Order ``rows`` by falling score, equal scores as they come: a radix sort of the bits.

    A zero must not be negative.
    """
    n = len(rows)
    bits = scores.view(np.uint32)
    keys, positions = np.empty((2, n), np.uint32), np.empty((2, n), np.int64)
    for i in range(n):
        # Ascending keys are falling scores: the bits of positive floats ascend with the value and
        # are turned over; those of negative ones ascend as the value falls.
        value = bits[rows[i]]
        keys[0, i] = value if value >> np.uint32(31) else value ^ np.uint32(0x7FFFFFFF)
        positions[0, i] = rows[i]
    starts = np.empty(2049, np.int64)
    # Three passes of 11 bits cover 32. Each pass keeps the order of equal digits, so that equal
    # scores stay in order, as in torchvision, whose sort is stable.
    for digit in range(3):
        old, new = digit % 2, 1 - digit % 2
        shift = np.uint32(11 * digit)
        starts[:] = 0
        for i in range(n):
            starts[((keys[old, i] >> shift) & np.uint32(2047)) + 1] += 1
        for i in range(2048):
            starts[i + 1] += starts[i]
        for i in range(n):
            bucket = (keys[old, i] >> shift) & np.uint32(2047)
            position = starts[bucket]
            starts[bucket] += 1
            keys[new, position], positions[new, position] = keys[old, i], positions[old, i]
    rows[:] = positions[1]


@jit
def _gather(boxes: Array, rows: Array, corners: Array, areas: Array) -> None:
    """Write one array per side, in the order of ``rows``, and the areas."""
    for i in range(len(rows)):
        for side in range(4):
            corners[side, i] = boxes[rows[i], side]
        areas[i] = (corners[2, i] - corners[0, i]) * (corners[3, i] - corners[1, i])


@jit
def _overlapping(
    corners: Array, areas: Array, pick: int, last: int, iou: float, dead: Array
) -> int:
    """Mark what overlaps the picked box by more than ``iou``; return how many after it are dead."""
    x1, y1, x2, y2 = corners[0], corners[1], corners[2], corners[3]
    a, b, c, d, size = x1[pick], y1[pick], x2[pick], y2[pick], areas[pick]
    number = 0
    # No branch and no early end: the loop is vectorised, and the products it could have skipped
    # cost less. Unsigned bounds spare numba the check for negative indices.
    for j in range(np.uint64(pick + 1), np.uint64(last)):
        width = max(np.float32(0), min(c, x2[j]) - max(a, x1[j]))
        height = max(np.float32(0), min(d, y2[j]) - max(b, y1[j]))
        shared = width * height
        dead[j] |= np.int32(shared / (size + areas[j] - shared) > iou)
        number += dead[j]
    return number


@jit
def _suppress_class(boxes: Array, rows: Array, iou: float, limit: int) -> int:
    """Move the kept candidates of one class, sorted best first, to the front; return their number.

    Suppressed boxes are skipped, and removed once they are a quarter of what is left.
    """
    last = len(rows)
    # One array per side, in the order of the scores: the inner loop reads neighbours in memory.
    corners, areas = np.empty((4, last), np.float32), np.empty(last, np.float32)
    dead, index = np.zeros(last, np.int32), rows.copy()
    _gather(boxes, rows, corners, areas)
    count, pick = 0, 0
    while pick < last and count < limit:
        if dead[pick]:
            pick += 1
            continue
        rows[count] = index[pick]
        count += 1
        number = _overlapping(corners, areas, pick, last, iou, dead)
        pick += 1
        # A dead box is compared again with every later pick. Moving the living ones together is a
        # pass of its own, which pays once enough of them are dead.
        if 4 * number > last - pick:
            free = pick
            for j in range(pick, last):
                if not dead[j]:
                    for side in range(4):
                        corners[side, free] = corners[side, j]
                    areas[free], index[free], dead[free] = areas[j], index[j], 0
                    free += 1
            last = free
    return count


@jit
def suppress_classes(
    boxes: Array, scores: Array, rows: Array, starts: Array, iou: float, limit: int, counts: Array
) -> None:
    """Suppress within each class.

    ``rows[starts[k]:starts[k + 1]]`` are the candidates of class k; the kept ones come to the front
    of that range, best first, and their number to ``counts[k]``.
    """
    for k in range(len(starts) - 1):
        own = rows[starts[k] : starts[k + 1]]
        _sort(scores, own)
        counts[k] = _suppress_class(boxes, own, iou, limit)


@jit
def _soften_class(boxes: Array, scores: Array, rows: Array, sigma: float, floor: float) -> None:
    """Lower the scores of one class in place; what falls to ``floor`` or below is left there."""
    last = len(rows)
    corners, areas = np.empty((4, last), np.float64), np.empty(last, np.float64)
    left, index = scores[rows].astype(np.float64), rows.copy()
    _gather(boxes, rows, corners, areas)
    for pick in range(last):
        best = pick
        for j in range(pick + 1, last):
            # Equal scores in order, wherever the exchanges below have put them.
            if left[j] > left[best] or (left[j] == left[best] and index[j] < index[best]):
                best = j
        if left[best] <= floor:
            break
        for side in range(4):
            corners[side, pick], corners[side, best] = corners[side, best], corners[side, pick]
        areas[pick], areas[best] = areas[best], areas[pick]
        left[pick], left[best] = left[best], left[pick]
        index[pick], index[best] = index[best], index[pick]
        for j in range(pick + 1, last):
            width = min(corners[2, pick], corners[2, j]) - max(corners[0, pick], corners[0, j])
            height = min(corners[3, pick], corners[3, j]) - max(corners[1, pick], corners[1, j])
            if width > 0 and height > 0:
                shared = width * height
                overlap = shared / (areas[pick] + areas[j] - shared)
                left[j] *= np.exp(-overlap * overlap / sigma)
    for i in range(last):
        scores[index[i]] = left[i]


@jit
def soften_classes(
    boxes: Array, scores: Array, rows: Array, starts: Array, sigma: float, floor: float
) -> None:
    """Lower the score of every box by each better one of its class that it overlaps, in place.

    ``rows[starts[k]:starts[k + 1]]`` are the candidates of class k, in the order of equal scores.
    What falls to ``floor`` or below lowers no other.
    """
    for k in range(len(starts) - 1):
        _soften_class(boxes, scores, rows[starts[k] : starts[k + 1]], sigma, floor)
