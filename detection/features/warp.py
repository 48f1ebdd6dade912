"""R-CNN's crops: each box with some context, warped to a square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from detection.structures import Size

WarpMode = Literal["warp", "square"]

_OUTSIDE = -3.0


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class CropPlan:
    """Where the visible part of each crop comes from and where it goes, along one axis.

    Attributes:
        start: first image pixel of the visible part.
        length: image pixels of the visible part.
        target: first crop pixel of it.
        target_length: crop pixels of it.
    """

    start: Int[Tensor, " r"]
    length: Int[Tensor, " r"]
    target: Int[Tensor, " r"]
    target_length: Int[Tensor, " r"]


def warp_boxes(
    pixels: Float[Tensor, "3 h w"],
    boxes: Float[Tensor, "r 4"],
    crop_size: int,
    context: int = 16,
    mode: WarpMode = "warp",
) -> Float[Tensor, "r 3 s s"]:
    """Cut each box out with ``context`` crop pixels around it and resize it to a square.

    What lies outside the image becomes 0: the mean, in a normalised image. Bilinear without
    antialiasing; pixels of the image outside the crop take no part, as if it had been cut out
    first.

    Args:
        pixels: a normalised image, where 0 is the mean.
        boxes: image pixels.
        crop_size: side of the crops.
        context: crop pixels between the crop's border and the box.
        mode: ``warp`` stretches the box, ``square`` takes the tightest square around it.

    Raises:
        ValueError: if the context leaves no room for the box.

    Source:
        RC §2.1, Appendix A; rcnn_im_crop.m of the release.
    """
    if 2 * context >= crop_size:
        message = f"context: expected less than {crop_size // 2} pixels, got {context}"
        raise ValueError(message)
    size = int(pixels.shape[1]), int(pixels.shape[2])
    horizontal, vertical = plan_crops(boxes, size, crop_size, context, mode)
    x = sample_positions(horizontal, crop_size, size[1])
    y = sample_positions(vertical, crop_size, size[0])
    grid = torch.stack(
        (
            x[:, None, :].expand(-1, crop_size, -1),
            y[:, :, None].expand(-1, -1, crop_size),
        ),
        dim=3,
    )
    images = pixels[None].expand(len(boxes), -1, -1, -1)
    if len(boxes) == 0:
        return pixels.new_zeros(0, 3, crop_size, crop_size)
    return functional.grid_sample(
        images, grid.to(pixels.dtype), mode="bilinear", padding_mode="zeros", align_corners=True
    )


def plan_crops(
    boxes: Float[Tensor, "r 4"], size: Size, crop_size: int, context: int, mode: WarpMode
) -> tuple[CropPlan, CropPlan]:
    """Compute the released code's crops for all boxes: (horizontal, vertical).

    The box grows about its centre by ``crop_size / (crop_size - 2 context)`` and is rounded to
    whole pixels. The release works with 1-based pixels and puts the centre half a pixel too far
    right and down; this is kept.
    """
    edges = boxes.double()
    half = (edges[:, 2:] - edges[:, :2]) / 2
    centre = edges[:, :2] + 1 + half
    if mode == "square":
        half = half.amax(dim=1, keepdim=True).expand(-1, 2)
    if mode == "square" or context > 0:
        growth = crop_size / (crop_size - 2 * context)
        first, last = _round(centre - half * growth), _round(centre + half * growth)
    else:
        first, last = _round(edges[:, :2] + 1), _round(edges[:, 2:])
    return (
        _plan_axis(first[:, 0], last[:, 0], size[1], crop_size),
        _plan_axis(first[:, 1], last[:, 1], size[0], crop_size),
    )


def _plan_axis(
    first: Float[Tensor, " r"], last: Float[Tensor, " r"], side: int, crop_size: int
) -> CropPlan:
    """Clip 1-based inclusive ranges to an image side; lay what is left into the crop."""
    whole = (last - first + 1).clamp(min=1)
    scale = crop_size / whole
    start = first.clamp(1, side)
    end = torch.maximum(last.clamp(1, side), start)
    length = end - start + 1
    target = _round((1 - first).clamp(min=0) * scale).clamp(max=crop_size - 1)
    target_length = _round(length * scale).clamp(min=1)
    target_length = torch.minimum(target_length, crop_size - target)
    return CropPlan(
        start=(start - 1).long(),
        length=length.long(),
        target=target.long(),
        target_length=target_length.long(),
    )


def _round(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Round halves away from zero, as MATLAB does."""
    return values.sign() * (values.abs() + 0.5).floor()


def sample_positions(plan: CropPlan, crop_size: int, side: int) -> Float[Tensor, "r s"]:
    """Return, per crop pixel, the grid position (-1 to 1) to read along one axis."""
    index = torch.arange(crop_size, device=plan.start.device, dtype=torch.float64)[None, :]
    inner = index - plan.target[:, None]
    ratio = (plan.length / plan.target_length.double())[:, None]
    source = ((inner + 0.5) * ratio - 0.5).clamp(min=0)
    source = torch.minimum(source, (plan.length - 1).double()[:, None]) + plan.start[:, None]
    inside = (inner >= 0) & (inner < plan.target_length[:, None])
    position = source * (2 / max(side - 1, 1)) - 1
    return torch.where(inside, position, _OUTSIDE).float()
