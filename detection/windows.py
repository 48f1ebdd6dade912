"""Scored windows of one image before suppression, and ways to bring several sets together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.boxes import flip
from detection.config import PostprocessConfig
from detection.postprocess import Refine, suppress
from detection.structures import Detections


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ScoredWindows:
    """The boxes of one image, scored for every class, not yet suppressed.

    Attributes:
        boxes: image pixels, on the device of the scores.
        scores: of each box for each class.
        refine: from rows and labels to the boxes that the regressors give.
    """

    boxes: Float[Tensor, "r 4"]
    scores: Float[Tensor, "r k"]
    refine: Refine

    def suppressed(self, config: PostprocessConfig, image_id: str) -> Detections:
        """Suppress, move the boxes that are left, suppress again."""
        return suppress(self.boxes, self.scores, config, refine=self.refine, image_id=image_id)


def join(parts: Sequence[ScoredWindows]) -> ScoredWindows:
    """Give the union of sets of windows, one after the other.

    Source:
        SPP §4.4: models are combined by suppressing the union of their scored windows.
    """
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + len(part.boxes))
    boxes = torch.cat([part.boxes for part in parts])

    def refine(rows: Int[Tensor, " m"], labels: Int[Tensor, " m"]) -> Float[Tensor, "m 4"]:
        moved = boxes[rows]
        for part, start, end in zip(parts, starts, starts[1:], strict=False):
            here = ((rows >= start) & (rows < end)).nonzero().flatten()
            moved[here] = part.refine(rows[here] - start, labels[here]).to(moved)
        return moved

    return ScoredWindows(
        boxes=boxes, scores=torch.cat([part.scores for part in parts]), refine=refine
    )


def average_with_mirrored(
    windows: ScoredWindows, mirrored: ScoredWindows, width: int
) -> ScoredWindows:
    """Give the mean scores and mean refined boxes of an image and its mirror image.

    Args:
        windows: of the image.
        mirrored: the same boxes, mirrored, on the mirrored image.
        width: of the image, pixels.
    """

    def refine(rows: Int[Tensor, " m"], labels: Int[Tensor, " m"]) -> Float[Tensor, "m 4"]:
        return (windows.refine(rows, labels) + flip(mirrored.refine(rows, labels), width)) / 2

    return ScoredWindows(
        boxes=windows.boxes, scores=(windows.scores + mirrored.scores) / 2, refine=refine
    )
