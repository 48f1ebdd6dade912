"""Memory for large results, used again once nobody holds the result.

Fresh memory costs the operating system more than the pooling that fills it: 100 MB of vectors an
image take longer to be handed out, zeroed, than to be computed.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.int32]]

LARGEST = 128 * 2**20
"""Elements of the largest array that is kept: 512 MB, 8,000 windows of ZF-5."""
SMALLEST = 2**18
"""Smaller arrays come from memory that the process has anyway."""


class Buffers:
    """A few arrays that are handed out in turn, each only while no view of it is alive."""

    # Two: while one result is computed, its caller usually still holds the one before.
    def __init__(self, count: int = 2) -> None:
        self._arrays: list[Array] = [np.empty(0, dtype=np.int32) for _ in range(count)]
        self._lock = threading.Lock()
        self._unused = self._references(0)

    def take(self, rows: int, columns: int) -> Array:
        """Return an uninitialised array that nobody else holds.

        Args:
            rows: of the array.
            columns: of the array.
        """
        size = rows * columns
        if not SMALLEST <= size <= LARGEST:
            return np.empty((rows, columns), dtype=np.int32)
        with self._lock:
            free = [i for i in range(len(self._arrays)) if self._references(i) == self._unused]
            if not free:
                return np.empty((rows, columns), dtype=np.int32)
            # The largest fits most requests: the others need not grow too.
            largest = max(free, key=lambda index: self._arrays[index].size)
            if self._arrays[largest].size < size:
                self._arrays[largest] = np.empty(size, dtype=np.int32)
            return self._arrays[largest][:size].reshape(rows, columns)

    def _references(self, index: int) -> int:
        """Count who refers to an array: this list, and every view or tensor made from it."""
        return sys.getrefcount(self._arrays[index])
