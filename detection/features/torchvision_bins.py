"""One level of a pyramid with torchvision's RoI pooling, on any device and with gradients."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.lazy import lazy

ops = lazy("torchvision.ops")


def pool_level(
    values: Float[Tensor, "c h w"], windows: Int[Tensor, "r 4"], level: int
) -> Float[Tensor, "r c n n"]:
    """Pool each window into one grid of exact bins, in few launches and without waiting."""
    if is_exact(level, max(values.shape[1:])):
        return pool_windows(values, windows, level)
    return _pool_bins(values, windows, level)


def pool_windows(
    values: Float[Tensor, "c h w"], windows: Int[Tensor, "r 4"], level: int
) -> Float[Tensor, "r c n n"]:
    """Pool in one launch, with bins computed in float32; RoIs end at the last cell."""
    corners = windows.float()
    batch = corners.new_zeros(len(windows), 1)
    rois = torch.cat((batch, corners[:, :2], corners[:, 2:] - 1), dim=1)
    pooled: Tensor = ops.roi_pool(values[None].float(), rois, level)
    return pooled


@functools.cache
def is_exact(level: int, longest: int) -> bool:
    """Return whether torchvision's float32 bin edges are exact up to a size.

    They are for 1, 2, 3 and 6 bins of up to 399 cells, but not for 7 bins of 57.
    """
    sizes = torch.arange(1, longest + 1)[:, None]
    index = torch.arange(level)[None, :]
    width = sizes.float() / level
    starts = torch.equal((index * width).floor().long(), index * sizes // level)
    ends = torch.equal(((index + 1) * width).ceil().long(), -(-(index + 1) * sizes // level))
    return starts and ends


def _pool_bins(
    values: Float[Tensor, "c h w"], windows: Int[Tensor, "r 4"], level: int
) -> Float[Tensor, "r c n n"]:
    """Pool each bin as its own window: exact for all sides, and one launch."""
    index = torch.arange(level, device=windows.device)[:, None]
    start, size = windows[:, None, :2], (windows[:, 2:] - windows[:, :2])[:, None]
    low = start + index * size // level
    high = start + ((index + 1) * size + level - 1) // level
    (x1, y1), (x2, y2) = low.unbind(dim=2), high.unbind(dim=2)
    sides = (x1[:, None, :], y1[:, :, None], x2[:, None, :], y2[:, :, None])
    bins = torch.stack([side.expand(len(windows), level, level) for side in sides], dim=3)
    pooled = pool_windows(values, bins.reshape(-1, 4), 1)
    return pooled.reshape(len(windows), level, level, len(values)).permute(0, 3, 1, 2)
