"""Weights of one grid of cells as weights of a pyramid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def resample_grid(
    weight: Float[Tensor, "f d"], channels: int, levels: Sequence[int]
) -> Float[Tensor, "f e"]:
    """Return the weights of a grid of cells as weights of a pyramid's bins.

    A bin's weight is the sum of those of the cells that it covers, a cell that lies in several bins
    being divided among them, over the number of levels. Laws: where every cell of a channel has the
    same value, the products are equal; a pyramid of the grid alone changes nothing.

    Args:
        weight: of a fully connected layer that reads channels x side x side numbers.
        channels: of the map.
        levels: sides of the pyramid's grids.
    """
    side = math.isqrt(weight.shape[1] // channels)
    grid = weight.view(len(weight), channels, side, side).double()
    parts = []
    for level in levels:
        shares = _shares(side, level).to(grid)
        bins = shares @ grid @ shares.T / len(levels)
        parts.append(bins.flatten(1))
    return torch.cat(parts, dim=1).to(weight)


def _shares(cells: int, bins: int) -> Float[Tensor, "bins cells"]:
    """Return the part of each cell of an axis that lies in each bin of the same length."""
    edges = torch.arange(cells + 1, dtype=torch.float64)
    limits = torch.arange(bins + 1, dtype=torch.float64) * (cells / bins)
    first = torch.maximum(limits[:-1, None], edges[None, :-1])
    last = torch.minimum(limits[1:, None], edges[None, 1:])
    return (last - first).clamp(min=0)
