"""RoIAlign, sample by sample in float64: He et al. 2017, section 3, slow and plain."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cells(pixel: float, factor: float, stride: int, offset: float, count: int) -> float:
    """Return where an edge at an image pixel lies, cell i reaching from i to i + 1.

    The first cell's centre is the middle of input pixel ``offset``.
    """
    place = 0.5 + (pixel * factor - (offset + 0.5)) / stride
    return min(max(place, 0.0), float(count))


def interpolate(values: Tensor, y: float, x: float) -> Tensor:
    """Return the value between the four cells whose centres are around a place, at most the border.

    ``y`` and ``x`` count from the centre of the first cell.
    """
    height, width = values.shape[1:]
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, along = y - top, x - left
    above = values[:, top, left] * (1 - along) + values[:, top, right] * along
    below = values[:, bottom, left] * (1 - along) + values[:, bottom, right] * along
    return above * (1 - down) + below * down


def align(values: Tensor, box: list[float], level: int) -> Tensor:
    """Return (channels, level, level): the mean of four regular places in each bin."""
    values = values.double()
    x1, y1, x2, y2 = box
    out = values.new_empty(values.shape[0], level, level)
    for i in range(level):
        for j in range(level):
            samples = [
                interpolate(
                    values,
                    y1 + (y2 - y1) * (i + down) / level - 0.5,
                    x1 + (x2 - x1) * (j + along) / level - 0.5,
                )
                for down in (0.25, 0.75)
                for along in (0.25, 0.75)
            ]
            out[:, i, j] = torch.stack(samples).mean(dim=0)
    return out


def align_pyramid(values: Tensor, boxes: list[list[float]], levels: tuple[int, ...]) -> Tensor:
    """Return one row per box: the levels, each flattened channel, row, column."""
    rows = [torch.cat([align(values, box, n).flatten() for n in levels]) for box in boxes]
    length = values.shape[0] * sum(level * level for level in levels)
    return torch.stack(rows) if rows else torch.zeros(0, length, dtype=torch.float64)
