"""The pyramid with the operations that other runtimes have: exact bins, any size of map.

The maximum over a bin is that of four squares or rectangles of 2^i x 2^j cells that cover it and
stay inside (a sparse table). All of them are computed once a map, by shifting; a bin then takes
four look-ups, however large it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from detection.features.pyramid import finer_levels, merge_bins


def pool_by_table(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    levels: Sequence[int],
    longest: int,
) -> Float[Tensor, "r d"]:
    """Return the result of `pyramid_pool`, in the paper's layout.

    Args:
        values: a feature map.
        windows: half-open ranges of cells x1 y1 x2 y2, not empty, inside the map.
        levels: sides of the grids.
        longest: no window is wider or higher than this many cells.
    """
    pooled: dict[int, Tensor] = {}
    for level, finer in finer_levels(levels).items():
        if finer is None:
            pooled[level] = _pool_level(values, windows, level, longest)
        else:
            pooled[level] = merge_bins(pooled[finer], level)
    return torch.cat([pooled[level].flatten(1) for level in levels], dim=1)


def longest_bin(longest: int, level: int) -> int:
    """Return the most cells along one axis of any bin of a window ``longest`` cells long."""
    return min(longest, -(-longest // level) + 1)


def bin_edges(
    low: Int[Tensor, " r"], high: Int[Tensor, " r"], level: int
) -> tuple[Int[Tensor, "r n"], Int[Tensor, "r n"]]:
    """Return the half-open ranges of each window's bins along one axis.

    ``floor(j w / n)`` to ``ceil((j + 1) w / n)``, in whole numbers.
    """
    index = torch.arange(level, device=low.device)
    length = (high - low)[:, None]
    return low[:, None] + index * length // level, low[:, None] + (
        (index + 1) * length + level - 1
    ) // level


def _pool_level(
    values: Float[Tensor, "c h w"], windows: Int[Tensor, "r 4"], level: int, longest: int
) -> Float[Tensor, "r c n n"]:
    """Look up each bin in the table."""
    height, width = values.shape[1:]
    sizes = longest_bin(longest, level).bit_length()
    table = _table(values.permute(1, 2, 0), sizes).flatten(0, 3)
    x, x_size = _two_starts(*bin_edges(windows[:, 0], windows[:, 2], level), sizes)
    y, y_size = _two_starts(*bin_edges(windows[:, 1], windows[:, 3], level), sizes)
    first = (y_size[:, :, None] * sizes + x_size[:, None, :]) * height
    pooled: Tensor | None = None
    for row in y:
        for column in x:
            cells = (first + row[:, :, None]) * width + column[:, None, :]
            candidates = table[cells.flatten()]
            pooled = candidates if pooled is None else torch.maximum(pooled, candidates)
    if pooled is None:
        return values.new_zeros(0)
    return pooled.view(-1, level, level, values.shape[0]).permute(0, 3, 1, 2)


def _table(cells: Float[Tensor, "h w c"], sizes: int) -> Float[Tensor, "s s h w c"]:
    """Return the maximum over the 2^i x 2^j cells starting at each cell, for i and j < sizes.

    What reaches beyond the map is cut off at its border.
    """
    height, width = cells.shape[:2]
    rows = [cells]
    for exponent in range(sizes - 1):
        shifted = functional.pad(rows[-1], (0, 0, 0, 0, 0, 2**exponent), value=-torch.inf)
        rows.append(torch.maximum(rows[-1], shifted[2**exponent : 2**exponent + height]))
    columns = [torch.stack(rows)]
    for exponent in range(sizes - 1):
        shifted = functional.pad(columns[-1], (0, 0, 0, 2**exponent), value=-torch.inf)
        columns.append(torch.maximum(columns[-1], shifted[:, :, 2**exponent : 2**exponent + width]))
    return torch.stack(columns, dim=1)


def _two_starts(
    low: Int[Tensor, "r n"], high: Int[Tensor, "r n"], sizes: int
) -> tuple[tuple[Int[Tensor, "r n"], Int[Tensor, "r n"]], Int[Tensor, "r n"]]:
    """Return the starts of two power-of-two ranges that together cover each bin, and the power."""
    length = high - low
    power = torch.zeros_like(low)
    side = torch.ones_like(low)
    for exponent in range(1, sizes):
        reached = length >= 2**exponent
        power = torch.where(reached, exponent, power)
        side = torch.where(reached, 2**exponent, side)
    return (low, high - side), power
