"""The colour and texture bins of one channel as OpenCV's selective search defines them."""

from __future__ import annotations

import math

import numpy as np


def colour_bins(plane: np.ndarray) -> np.ndarray:
    """Return the colour bin, 0..24, of each pixel."""
    return np.vectorize(lambda value: int(int(value) * 25 / 256))(plane)


def texture_bins(gradient_x: np.ndarray, gradient_y: np.ndarray) -> list[np.ndarray]:
    """Return the bins, 0..9, of the falling and the rising gradient in four directions."""
    x, y = gradient_x.astype(np.float64), gradient_y.astype(np.float64)
    bins = []
    for along in (x, y, x + y, x - y):
        bins.append(strength_bins(np.minimum(along, 0), min(along.min(), -1), 0))
        bins.append(strength_bins(np.maximum(along, 0), 0, max(along.max(), 1)))
    return bins


def strength_bins(strength: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale ``low..high`` to 0..254, round, and cut into ten bins of 25.6."""
    levels = (strength - low) * 254 / (high - low)
    return np.vectorize(lambda level: int(math.floor(level + 0.5) / 25.6))(levels)
