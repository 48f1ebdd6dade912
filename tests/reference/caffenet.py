"""CaffeNet's sizes and its normalisation across channels, one number at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LAYERS = [
    ("conv", 11, 4, 0),
    ("pool", 3, 2, 0),
    ("conv", 5, 1, 2),
    ("pool", 3, 2, 0),
    ("conv", 3, 1, 1),
    ("conv", 3, 1, 1),
    ("conv", 3, 1, 1),
]
"""kind, kernel, stride, pad (rcnn_batch_256_output_fc7.prototxt)."""


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


def across_channels_norm(x: Tensor) -> Tensor:
    """Divide each value by (1 + 1e-4 / 5 * the squares of 5 channels around it) ** 0.75."""
    out = torch.empty_like(x)
    for c in range(len(x)):
        near = x[max(c - 2, 0) : c + 3]
        out[c] = x[c] * (1 + 1e-4 / 5 * (near * near).sum(dim=0)) ** -0.75
    return out


def grouped_conv(x: Tensor, weight: Tensor, bias: Tensor, pad: int) -> Tensor:
    """Convolve each half of the channels with its half of the filters, cell by cell."""
    padded = torch.nn.functional.pad(x, (pad,) * 4)
    filters, inputs, kernel, _ = weight.shape
    rows, columns = (side - kernel + 1 for side in padded.shape[1:])
    out = torch.empty(filters, rows, columns)
    for f in range(filters):
        half = 0 if f < filters // 2 else inputs
        for i in range(rows):
            for j in range(columns):
                seen = padded[half : half + inputs, i : i + kernel, j : j + kernel]
                out[f, i, j] = (seen * weight[f]).sum() + bias[f]
    return out
