"""SPP Appendix A, bin by bin: slow and plain."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def pool_window(values: Tensor, window: list[int], level: int) -> Tensor:
    """Return (channels, level, level): the maximum over columns floor(jw/n) to ceil((j+1)w/n)."""
    x1, y1, x2, y2 = window
    width, height = x2 - x1, y2 - y1
    out = torch.empty(values.shape[0], level, level)
    for i in range(level):
        top, bottom = i * height // level, math.ceil((i + 1) * height / level)
        for j in range(level):
            left, right = j * width // level, math.ceil((j + 1) * width / level)
            bin_values = values[:, y1 + top : y1 + bottom, x1 + left : x1 + right]
            out[:, i, j] = bin_values.flatten(1).max(dim=1).values
    return out


def pyramid(values: Tensor, windows: list[list[int]], levels: tuple[int, ...]) -> Tensor:
    """Return one row per window: the levels, each flattened channel, row, column."""
    rows = [
        torch.cat([pool_window(values, window, level).flatten() for level in levels])
        for window in windows
    ]
    length = values.shape[0] * sum(level * level for level in levels)
    return torch.stack(rows) if rows else torch.zeros(0, length)
