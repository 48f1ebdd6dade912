"""RoIAlign as a pooling of the pyramid: no edge is rounded, and bins are sampled between cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from detection.io.device import is_host
from detection.kernels.bilinear import BLOCK, SAMPLES, sample_bins, spread_bins
from detection.kernels.jit import NUMBA_AVAILABLE
from detection.kernels.threads import in_threads
from detection.lazy import lazy
from detection.structures import ConvGeometry, Size

ops = lazy("torchvision.ops")

_CHUNK = 64
"""Boxes whose gradients are spread together: their rows of cells have to fit the memory."""


def align_boxes(
    boxes: Float[Tensor, "r 4"],
    image_size: Size,
    input_size: Size,
    geometry: ConvGeometry,
    map_size: Size,
) -> Float[Tensor, "r 4"]:
    """Find where each box lies on a feature map, without rounding.

    Args:
        boxes: image pixels.
        image_size: (height, width) of the original image.
        input_size: (height, width) of the resized image.
        geometry: where the cells lie on the resized image.
        map_size: (rows, columns) of the map.

    Returns:
        Cells x1 y1 x2 y2, float64; column i of the map reaches from i to i + 1. Boxes end at the
        map's border, so that one beside the map is the point of it that is nearest.

    Source:
        He et al. 2017 (arXiv 1703.06870), §3: ``x / 16`` instead of ``[x / 16]``.
    """
    corners = boxes.double()
    sides = corners.new_tensor([image_size[1], image_size[0]]).repeat(2)
    new_sides = corners.new_tensor([input_size[1], input_size[0]]).repeat(2)
    return align_pixels(corners * (new_sides / sides), geometry, map_size)


def align_pixels(
    input_boxes: Float[Tensor, "r 4"], geometry: ConvGeometry, map_size: Size
) -> Float[Tensor, "r 4"]:
    """Do what `align_boxes` does, of boxes in input pixels.

    Cell 0 has its centre in the middle of the pixel ``geometry.offset``. Where that is half a
    stride, the cells tile the input and this is a division by the stride.
    """
    cells = (input_boxes - (geometry.offset + 0.5)) / geometry.stride + 0.5
    # a tensor per side: a traced graph keeps their sizes dynamic
    limits = torch.stack([cells.new_full((), side) for side in (map_size[1], map_size[0])])
    return cells.clamp(min=0).minimum(limits.repeat(2))


def align_pool(
    values: Float[Tensor, "c h w"], rois: Float[Tensor, "r 4"], levels: Sequence[int]
) -> Float[Tensor, "r d"]:
    """Average bilinear samples in the n x n bins of each box, one grid per level.

    Bins have equal sides; a bin is the mean of 2 x 2 samples, at a quarter and three quarters of
    its sides, each interpolated between the four nearest cell centres. A level's bins are at most
    two samples a side, however large: it is fine levels, such as 7, that see all of a box.

    Gradients flow back to ``values``, not to the boxes. On the CPU compiled loops over all channels
    pool and spread the gradients, the same to the bit in every run and with any number of threads;
    elsewhere torchvision does. Without numba torchvision pools on the CPU too, and its gradient is
    written as products of matrices.

    Args:
        values: a feature map.
        rois: of `align_boxes`, inside the map.
        levels: sides of the grids.

    Returns:
        For each box the levels one after the other, each in the order channel, row, column;
        float32.

    Raises:
        ValueError: on the CPU, for a box outside the map.

    Source:
        He et al. 2017 (arXiv 1703.06870), §3, with the average.
    """
    values, rois = values.float(), rois.to(values.device).float()
    parts = [_align_level(values, rois, level).flatten(1) for level in levels]
    return torch.cat(parts, dim=1)


def _align_level(
    values: Float[Tensor, "c h w"], rois: Float[Tensor, "r 4"], level: int
) -> Float[Tensor, "r c n n"]:
    if not is_host(values.device):
        return sample_with_torchvision(values, rois, level)
    if values.requires_grad and torch.is_grad_enabled():
        pooled: Tensor = _Align.apply(values, rois, level)
        return pooled
    return _sample_on_host(values, rois, level)


def _check_boxes(values: Float[Tensor, "c h w"], rois: Float[Tensor, "r 4"]) -> None:
    """Refuse boxes that would be read outside the map: neither loop looks where it is sent."""
    height, width = values.shape[1:]
    inside = ((rois >= 0) & (rois <= rois.new_tensor([width, height]).repeat(2))).all(dim=1)
    if not bool(inside.all()):
        worst = rois[~inside][0].tolist()
        message = f"rois: expected boxes inside {width} x {height} cells, got {worst}"
        raise ValueError(message)


def _sample_on_host(
    values: Float[Tensor, "c h w"], rois: Float[Tensor, "r 4"], level: int
) -> Float[Tensor, "r c n n"]:
    _check_boxes(values, rois)
    if not NUMBA_AVAILABLE:
        return sample_with_torchvision(values, rois, level)
    cells, boxes = _channels_last(values.detach()), rois.detach().numpy()
    out = np.empty((len(rois), values.shape[0], level * level), np.float32)
    in_threads(
        lambda begin, end: sample_bins(cells, boxes, level, begin, end, out), len(rois), _CHUNK
    )
    return torch.from_numpy(out).view(*out.shape[:2], level, level)


def _channels_last(values: Float[Tensor, "c h w"]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a map as the compiled loops read it, (h, w, c)."""
    return values.permute(1, 2, 0).contiguous().numpy()


def sample_with_torchvision(
    values: Float[Tensor, "c h w"], rois: Float[Tensor, "r 4"], level: int
) -> Float[Tensor, "r c n n"]:
    """Pool with torchvision, whose cells are points as soon as boxes are ``aligned``."""
    numbered = torch.cat((torch.zeros_like(rois[:, :1]), rois), dim=1)
    pooled: Tensor = ops.roi_align(values[None], numbered, level, 1.0, SAMPLES, aligned=True)
    return pooled


class _Align(torch.autograd.Function):
    """Pooling on the CPU with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rois: Tensor, level: int) -> Tensor:
        """Pool."""
        ctx.save_for_backward(rois)
        ctx.map_size = values.shape[1:]
        return _sample_on_host(values, rois, level)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Spread the gradient over the map."""
        (rois,) = ctx.saved_tensors
        spread = _spread if NUMBA_AVAILABLE else spread_with_torch
        return spread(gradient, rois, ctx.map_size), None, None


def _spread(
    gradient: Float[Tensor, "r c n n"], rois: Float[Tensor, "r 4"], map_size: Size
) -> Float[Tensor, "c h w"]:
    """Spread with the compiled loop, some channels on each thread."""
    channels, level = gradient.shape[1:3]
    bins, boxes = gradient.flatten(2).contiguous().numpy(), rois.detach().numpy()
    cells = np.zeros((*map_size, channels), np.float32)
    in_threads(
        lambda begin, end: spread_bins(bins, boxes, level, begin, end, cells), channels, BLOCK
    )
    return torch.from_numpy(cells).permute(2, 0, 1)


def spread_with_torch(
    gradient: Float[Tensor, "r c n n"], rois: Float[Tensor, "r 4"], map_size: Size
) -> Float[Tensor, "c h w"]:
    """Spread with products of matrices: interpolation is one along each axis."""
    height, width = map_size
    spread = gradient.new_zeros(height, width * gradient.shape[1])
    chunks = torch.split(gradient, _CHUNK), torch.split(rois, _CHUNK)
    for part, boxes in zip(*chunks, strict=True):
        level = part.shape[2]
        columns = _weights(boxes[:, 0], boxes[:, 2], level, width)
        rows = _weights(boxes[:, 1], boxes[:, 3], level, height)
        along = columns.mT[:, None] @ part.permute(0, 2, 3, 1)  # box, row of bins, column, c
        spread += rows.flatten(0, 1).T @ along.flatten(2).flatten(0, 1)
    return spread.view(height, width, -1).permute(2, 0, 1)


def _weights(
    low: Float[Tensor, " r"], high: Float[Tensor, " r"], level: int, size: int
) -> Float[Tensor, "r n s"]:
    """Return how much each cell along one axis counts in each bin.

    Bilinear samples on a regular grid are a product of such weights of the two axes.
    """
    count = level * SAMPLES
    places = (torch.arange(count, device=low.device) + 0.5) / count
    samples = (low[:, None] + (high - low)[:, None] * places - 0.5).clamp(0, size - 1)
    distance = (samples[:, :, None] - torch.arange(size, device=low.device)).abs()
    weights = (1 - distance).clamp(min=0)
    return weights.view(len(low), level, SAMPLES, size).mean(dim=2)
