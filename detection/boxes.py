"""The algebra of boxes ``x1 y1 x2 y2`` in continuous pixels; an image is ``(0, 0, width, height)``.

VOC's 1-based inclusive corners become this convention when they are parsed (xmin - 1, ymin - 1,
xmax, ymax), so that no ``+ 1`` appears here and the IoU still equals the devkit's.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from detection.structures import Size

MAX_LOG_SIZE = math.log(1000.0 / 16.0)
"""Limit of dw and dh before the exponential: a guard of ours against overflow, in neither paper."""


def area(boxes: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """Return the area of each box in square pixels; an inverted box has area 0."""
    return (boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)


def intersection(a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """Return the intersection area of each box of ``a`` with each box of ``b``."""
    top_left = torch.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    return (bottom_right - top_left).clamp(min=0).prod(dim=2)


def iou(a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """Return the intersection over union of each pair; 0 where both boxes are empty.

    Law: ``iou(a, b) == iou(b, a).T``, values in [0, 1], 1 for a box of positive area with itself.
    """
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - shared
    return torch.where(
        union > 0, shared / union.clamp(min=torch.finfo(union.dtype).tiny), torch.zeros_like(union)
    )


def clip(boxes: Float[Tensor, "*n 4"], size: Size) -> Float[Tensor, "*n 4"]:
    """Move every corner into the image.

    Args:
        boxes: image pixels.
        size: (height, width) of the image.
    """
    height, width = size
    x = boxes[..., 0::2].clamp(0, width)
    y = boxes[..., 1::2].clamp(0, height)
    return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), dim=-1)


def flip(boxes: Float[Tensor, "n 4"], width: int) -> Float[Tensor, "n 4"]:
    """Mirror boxes about the image's vertical axis. Law: flipping twice changes nothing."""
    return torch.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), dim=1)


def encode_deltas(
    boxes: Float[Tensor, "n 4"], gt_boxes: Float[Tensor, "n 4"], *, inset: float = 0.0
) -> Float[Tensor, "n 4"]:
    """Return the deltas (dx, dy, dw, dh) that move ``boxes`` onto ``gt_boxes``.

    Both must have positive width and height. Law: ``decode_deltas(b, encode_deltas(b, g)) == g``.

    Args:
        boxes: image pixels.
        gt_boxes: image pixels, one for each box.
        inset: sizes are measured so far inside the edges. Half a pixel measures from the centre of
            the first pixel to that of the last, ``x2 - x1`` of inclusive corners, as both releases
            do.

    Source:
        Girshick et al. 2014, Appendix C, equations 6-9; rcnn_train_bbox_regressor.m.
    """
    width, height = _sizes(boxes, inset)
    gt_width, gt_height = _sizes(gt_boxes, inset)
    dx = (gt_boxes[:, 0] + gt_boxes[:, 2] - boxes[:, 0] - boxes[:, 2]) / (2 * width)
    dy = (gt_boxes[:, 1] + gt_boxes[:, 3] - boxes[:, 1] - boxes[:, 3]) / (2 * height)
    return torch.stack((dx, dy, (gt_width / width).log(), (gt_height / height).log()), dim=1)


def _sizes(
    boxes: Float[Tensor, "n 4"], inset: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return widths and heights so far inside the edges; never 0, as in the releases."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    if inset:
        sizes = (sizes - 2 * inset).clamp(min=2.0**-52)
    return sizes[:, 0], sizes[:, 1]


def decode_deltas(
    boxes: Float[Tensor, "n 4"], deltas: Float[Tensor, "n *k 4"], *, inset: float = 0.0
) -> Float[Tensor, "n *k 4"]:
    """Move boxes by (dx, dy, dw, dh): shifts in units of the box's size, growth as a logarithm.

    Args:
        boxes: image pixels.
        deltas: for each box one delta, or one for each class.
        inset: as in `encode_deltas`.

    Source:
        Girshick et al. 2014, Appendix C, equations 1-4.
    """
    shape = (-1,) + (1,) * (deltas.ndim - 2)
    width, height = (size.view(shape) for size in _sizes(boxes, inset))
    centre_x = (boxes[:, 0] + boxes[:, 2]).view(shape) / 2 + deltas[..., 0] * width
    centre_y = (boxes[:, 1] + boxes[:, 3]).view(shape) / 2 + deltas[..., 1] * height
    half_width = width * deltas[..., 2].clamp(max=MAX_LOG_SIZE).exp() / 2 + inset
    half_height = height * deltas[..., 3].clamp(max=MAX_LOG_SIZE).exp() / 2 + inset
    return torch.stack(
        (
            centre_x - half_width,
            centre_y - half_height,
            centre_x + half_width,
            centre_y + half_height,
        ),
        dim=-1,
    )
