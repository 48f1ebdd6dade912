"""The numba kernel of per-class non-maximum suppression, bit for bit torchvision's on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile exact float32 arithmetic that releases the GIL, stored on disk where possible."""
    plain = unwrap(function)
    options = {"error_model": "numpy", "nogil": True}
    try:
        return cast(F, njit(cache=True, **options)(plain))
    except RuntimeError:  # numba found no folder for its cache
        return cast(F, njit(**options)(plain))


@compiled
def _suppress_class(boxes: Array, order: Array, iou: float, limit: int, kept: Array) -> int:
    """Write the kept candidates of one class to ``kept``, best first; give their number.

    What is left after each pick is packed again, so that the next pass reads no suppressed box.
    """
    left = len(order)
    x1, y1 = np.empty(left, np.float32), np.empty(left, np.float32)
    x2, y2 = np.empty(left, np.float32), np.empty(left, np.float32)
    area, index = np.empty(left, np.float32), np.empty(left, np.int64)
    over = np.empty(left, np.bool_)
    for i in range(left):
        row = order[i]
        x1[i], y1[i], x2[i], y2[i] = boxes[row, 0], boxes[row, 1], boxes[row, 2], boxes[row, 3]
        area[i], index[i] = (x2[i] - x1[i]) * (y2[i] - y1[i]), row
    count = 0
    while left > 0 and count < limit:
        kept[count] = index[0]
        count += 1
        a, b, c, d, size = x1[0], y1[0], x2[0], y2[0], area[0]
        for j in range(1, left):
            width = max(np.float32(0), min(c, x2[j]) - max(a, x1[j]))
            height = max(np.float32(0), min(d, y2[j]) - max(b, y1[j]))
            shared = width * height
            over[j] = shared / (size + area[j] - shared) > iou
        following = 0
        for j in range(1, left):
            x1[following], y1[following], x2[following], y2[following] = x1[j], y1[j], x2[j], y2[j]
            area[following], index[following] = area[j], index[j]
            following += not over[j]
        left = following
    return count


@compiled
def suppress_classes(
    boxes: Array, order: Array, starts: Array, iou: float, limit: int, kept: Array, counts: Array
) -> None:
    """Suppress within each class.

    ``order[starts[k]:starts[k + 1]]`` are the candidates of class k, best first; the kept ones are
    written to the front of the same range of ``kept`` and their number to ``counts[k]``.
    """
    for k in range(len(starts) - 1):
        first, last = starts[k], starts[k + 1]
        counts[k] = _suppress_class(boxes, order[first:last], iou, limit, kept[first:last])
