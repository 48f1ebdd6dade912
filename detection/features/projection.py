"""From boxes on the image to windows of cells on a feature map."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.structures import ConvGeometry, Size

ProjectionRule = Literal["paper", "released_code", "fast_rcnn"]

RELEASED_SHRINK = 6.5
"""Pixels by which the released code moves each edge inwards; the paper's rule moves by half a
stride."""


def project_boxes(
    boxes: Float[Tensor, "r 4"],
    image_size: Size,
    input_size: Size,
    geometry: ConvGeometry,
    map_size: Size,
    rule: ProjectionRule = "paper",
) -> Int[Tensor, "r 4"]:
    """Find the cells of a feature map that each box covers.

    Args:
        boxes: image pixels.
        image_size: (height, width) of the original image.
        input_size: (height, width) of the resized image.
        geometry: where the cells lie on the resized image.
        map_size: (rows, columns) of the map.
        rule: whose.

    Returns:
        Half-open windows x1 y1 x2 y2, at least one cell wide and high, inside the map.

    Source:
        SPP Appendix A; spm_response_boxes.m, spp_features_convX_to_poolX.m of the release.
    """
    first, last = input_pixels(boxes, image_size, input_size, rule)
    return windows_of_pixels(first, last, geometry, map_size, shrink_of(rule, geometry))


def shrink_of(rule: ProjectionRule, geometry: ConvGeometry) -> float:
    """Return by how many pixels a rule moves each edge inwards.

    ``paper``: half a stride. ``released_code``: 6.5. ``fast_rcnn``: none, so that an edge goes to
    the nearest cell, as in the RoI pooling of Fast R-CNN's code.
    """
    return {"paper": geometry.stride / 2, "released_code": RELEASED_SHRINK, "fast_rcnn": 0.0}[rule]


def input_pixels(
    boxes: Float[Tensor, "r 4"], image_size: Size, input_size: Size, rule: ProjectionRule
) -> tuple[Float[Tensor, "r 2"], Float[Tensor, "r 2"]]:
    """Return each resized box's first and last pixel (x, y; 0-based, inclusive).

    A box's last pixel is one before its right or lower edge. ``paper`` and ``fast_rcnn``: the edges
    are scaled with the image. ``released_code``: one factor for both axes carries the first and the
    last pixel of the image's short side to those of the resized one, ``x (s - 1) / (min - 1)``.
    """
    corners = boxes.double()
    sides = corners.new_tensor([image_size[1], image_size[0]])
    new_sides = corners.new_tensor([input_size[1], input_size[0]])
    if rule != "released_code":
        factor = new_sides / sides
        return corners[:, :2] * factor, corners[:, 2:] * factor - 1
    factor = (new_sides.min() - 1) / (sides.min() - 1).clamp(min=1)
    return corners[:, :2] * factor, (corners[:, 2:] - 1) * factor


def windows_of_pixels(
    first: Float[Tensor, "r 2"],
    last: Float[Tensor, "r 2"],
    geometry: ConvGeometry,
    map_size: Size,
    shrink: float,
) -> Int[Tensor, "r 4"]:
    """Find the cells whose centres lie in a range of input pixels made smaller by ``shrink``.

    ``floor((x1 - offset + shrink) / stride + 1/2)`` to ``ceil((x2 - offset - shrink) / stride -
    1/2)``, both inclusive. With ``shrink`` of half a stride this is the paper's ``floor(x1 /
    stride) + 1`` to ``ceil(x2 / stride) - 1``. A range that is empty becomes the one cell in its
    middle; a range outside the map, the nearest cell of the map.

    Args:
        first: x, y of the first pixel, 0-based.
        last: x, y of the last pixel, inclusive.
        geometry: where the cells lie; the release's ``offset0`` is ``geometry.offset + 1``.
        map_size: (rows, columns).
        shrink: input pixels.
    """
    low = ((first - geometry.offset + shrink) / geometry.stride + 0.5).floor()
    high = ((last - geometry.offset - shrink) / geometry.stride - 0.5).ceil()
    middle = ((low + high) / 2).floor()
    empty = low > high
    # a tensor per side: a traced graph keeps their sizes dynamic
    limits = torch.stack([low.new_full((), side - 1) for side in (map_size[1], map_size[0])])
    low = torch.where(empty, middle, low).clamp(min=0).minimum(limits)
    high = torch.where(empty, middle, high).clamp(min=0).minimum(limits)
    return torch.cat((low, high + 1), dim=1).long()
