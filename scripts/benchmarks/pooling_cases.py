"""The maps and windows that pooling is timed on, on a CPU and on a GPU, and torchvision's way."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import roi_pool

LEVELS = (1, 2, 3, 6)
MAPS = ((256, 38, 50), (512, 38, 63))


def make_windows(count: int, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Draw windows whose sides are log-uniform from 2 cells to the map's."""
    random = torch.rand(4, count, generator=generator)
    width = (2 * ((columns + 1) / 2) ** random[0]).long().clamp(1, columns)
    height = (2 * ((rows + 1) / 2) ** random[1]).long().clamp(1, rows)
    x = (random[2] * (columns - width + 1)).long()
    y = (random[3] * (rows - height + 1)).long()
    return torch.stack((x, y, x + width, y + height), dim=1)


def pool_with_torchvision(values: Tensor, windows: Tensor) -> Tensor:
    """Pool each level with roi_pool."""
    corners = windows.float()
    batch = torch.zeros_like(corners[:, :1])
    rois = torch.cat((batch, corners[:, :2], corners[:, 2:] - 1), dim=1)
    return torch.cat([roi_pool(values[None], rois, n, 1.0).flatten(1) for n in LEVELS], dim=1)
