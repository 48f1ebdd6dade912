"""Spatial pyramid pooling: from windows of any size to vectors of one length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import roi_pool


def pyramid_pool(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    levels: Sequence[int] = (1, 2, 3, 6),
) -> Float[Tensor, "r d"]:
    """Max-pool each window into grids of n x n bins, one grid a level.

    Bin (i, j) of a window w cells wide covers the columns ``floor(j w / n)`` to
    ``ceil((j + 1) w / n)``, likewise the rows: the bins of ``AdaptiveMaxPool2d``. Neighbouring bins
    overlap where n does not divide w; none is empty.

    Args:
        values: a feature map.
        windows: half-open ranges of cells x1 y1 x2 y2, not empty, inside the map.
        levels: sides of the grids.

    Returns:
        For each window the levels one after the other, each in the order channel, row, column.

    Source:
        SPP §2.2, §4.1, Appendix A; spm_pool_caffe_mex.cpp of the release.
    """
    pooled: dict[int, Tensor] = {}
    for level in sorted(set(levels), reverse=True):
        larger = [n for n in pooled if n % level == 0]
        pooled[level] = (
            merge_bins(pooled[min(larger)], level) if larger else _pool(values, windows, level)
        )
    return torch.cat([pooled[level].flatten(1) for level in levels], dim=1)


def merge_bins(bins: Float[Tensor, "r c m m"], level: int) -> Float[Tensor, "r c n n"]:
    """Give the bins of a coarser level, where its side divides the finer one's.

    With m = k n, ``floor(i w / n) == floor(k i w / m)`` and adjacent bins touch or overlap, so that
    a coarse bin is exactly the union of k x k fine ones.
    """
    step = bins.shape[2] // level
    return bins.unflatten(3, (level, step)).unflatten(2, (level, step)).amax(dim=(3, 5))


def _pool(
    values: Float[Tensor, "c h w"], windows: Int[Tensor, "r 4"], level: int
) -> Float[Tensor, "r c n n"]:
    """Pool one level with torchvision, whose bins over whole cells are the paper's."""
    corners = windows.to(torch.float32)
    rois = torch.cat(
        (corners.new_zeros(len(windows), 1), corners[:, :2], corners[:, 2:] - 1), dim=1
    )
    return roi_pool(values[None].float(), rois, level, 1.0)  # type: ignore[no-any-return]
