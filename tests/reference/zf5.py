"""ZF-5's sizes and its within-channel normalisation, one number at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LAYERS = [
    ("conv", 7, 2, 1),
    ("pool", 3, 2, 0),
    ("conv", 5, 2, 0),
    ("pool", 3, 2, 0),
    ("conv", 3, 1, 1),
    ("conv", 3, 1, 1),
    ("conv", 3, 1, 1),
]
"""kind, kernel, stride, pad (Zeiler_conv5.prototxt)."""


def map_side(side: int) -> int:
    """Return the side of conv5: convolutions round down, Caffe's pools round up."""
    for kind, kernel, stride, pad in LAYERS:
        rounded = math.ceil if kind == "pool" else math.floor
        side = rounded((side + 2 * pad - kernel) / stride) + 1
    return side


def first_centre() -> float:
    """Return the 0-based input pixel at the centre of the first cell's receptive field."""
    low, high = 0, 0
    for _, kernel, stride, pad in reversed(LAYERS):
        low, high = low * stride - pad, high * stride - pad + kernel - 1
    return (low + high) / 2


def within_channel_norm(x: Tensor, alpha: float = 5e-5, beta: float = 0.75) -> Tensor:
    """Normalise each value by the mean square of its 3 x 3 neighbours, zeros beyond the border."""
    out = torch.empty_like(x)
    channels, height, width = x.shape
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                near = x[c, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
                out[c, i, j] = x[c, i, j] * (1 + alpha * (near * near).sum() / 9) ** -beta
    return out
