"""The size at which an image goes through the conv layers, and the scale for each box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection import boxes as box_algebra
from detection.structures import Size

ScaleRule = Literal["paper", "released_code"]

PAPER_SIDE = 224.0
"""SPP §4.1: the box should cover about 224 x 224 pixels of the resized image."""
RELEASED_SIDE = 208.0
"""13 cells of 16 pixels (spm_expected_scale.m)."""
MAX_ASPECT = 8
"""The resized image is at most this many times longer than the short side asked for: a guard of
ours for strips such as 1 x 500, which would otherwise grow to 688 x 344,000."""


def resized_size(size: Size, short_side: int, max_long_side: int = 0, *, min_size: int = 1) -> Size:
    """Return the (height, width) to which an image is resized.

    The shorter side becomes ``short_side``, unless the longer one would pass ``max_long_side`` (0
    for no cap) or ``MAX_ASPECT`` times the short side; then the longer side is what fits. No side
    is shorter than ``min_size``, even where this stretches the image.

    Args:
        size: (height, width) of the image.
        short_side: the scale.
        max_long_side: the cap.
        min_size: the smallest input that the network accepts.

    Source:
        SPP §4.1; the cap is FR's.
    """
    cap = min(max_long_side or MAX_ASPECT * short_side, MAX_ASPECT * short_side)
    factor = min(short_side / min(size), cap / max(size))
    height, width = (max(min_size, round(side * factor)) for side in size)
    return height, width


def choose_scale(
    boxes: Float[Tensor, "r 4"],
    image_size: Size,
    scales: Sequence[int],
    rule: ScaleRule = "paper",
) -> Int[Tensor, " r"]:
    """Return, per box, the index of the scale at which it is closest to a training crop in size.

    ``paper``: the box's area in the resized image is nearest to 224 x 224. ``released_code``: the
    scale is nearest to the one at which the box is 208 x 208. Ties go to the first scale.

    Law: with ascending scales, a larger box never gets a larger scale.

    Args:
        boxes: image pixels.
        image_size: (height, width) of the image.
        scales: short sides of the resized image.
        rule: whose rule.

    Source:
        SPP §4.1; spm_expected_scale.m of the release.
    """
    areas = box_algebra.area(boxes).double().clamp(min=1e-6)[:, None]
    short_sides = torch.tensor(scales, dtype=torch.float64, device=boxes.device)[None, :]
    if rule == "paper":
        distances = (areas * (short_sides / min(image_size)) ** 2 - PAPER_SIDE**2).abs()
    else:
        expected = (RELEASED_SIDE * min(image_size) / areas.sqrt() + 0.5).floor()
        distances = (short_sides - expected).abs()
    nearest = distances == distances.amin(dim=1, keepdim=True)
    return nearest.int().argmax(dim=1)
