"""The compiled loop that turns float32 features into 8-bit numbers, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.kernels.jit import jit


@jit
def round_to_bytes(  # pragma: no cover
    source: NDArray[Any], factor: np.float32, shift: np.float32, target: NDArray[Any]
) -> None:
    """Write ``source * factor + shift``, cut to 0..255 and to whole numbers.

    Args:
        source: float32.
        factor: steps in a unit.
        shift: what becomes 0, and a half that turns cutting into rounding.
        target: uint8, as long.
    """
    low, high = np.float32(0), np.float32(255)
    for i in range(len(source)):
        value = source[i] * factor + shift
        target[i] = np.uint8(np.int32(min(max(value, low), high)))
