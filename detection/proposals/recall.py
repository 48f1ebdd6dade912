"""How many objects the proposals cover, against the number of proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detection.boxes import iou
from detection.structures import GroundTruth, Proposals
from detection.words import counted

IOUS = (0.5, 0.7)
COUNTS = (100, 300, 500, 1000, 2000, 3000)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class RecallTable:
    """The recall of ranked proposals.

    Attributes:
        ious: a row each: an object is covered by a box of at least this IoU.
        counts: a column each: how many of an image's best boxes are looked at.
        values: the fraction of the objects that are covered; NaN where there are no objects.
        overall: the same with all boxes.
        ranks: for each IoU and object the rank (from 1) of the first box that covers it, infinity
            where none does; sorted. ``(ranks[i] <= n).mean()`` is the recall of n boxes.
        num_images: looked at.
        num_objects: without difficult ones.
        mean_boxes: boxes per image.
    """

    ious: tuple[float, ...]
    counts: tuple[int, ...]
    values: Float[Tensor, "t c"]
    overall: Float[Tensor, " t"]
    ranks: Float[Tensor, "t o"]
    num_images: int
    num_objects: int
    mean_boxes: float

    def curve(self, counts: Sequence[int]) -> Float[Tensor, "t c"]:
        """Return the recall at any number of boxes, for a plot."""
        limits = torch.tensor(counts, dtype=torch.float32)
        covered = self.ranks[:, :, None] <= limits
        return covered.float().mean(dim=1)

    def format(self) -> str:
        """Return the table as text."""
        header = "".join(f"{count:>8}" for count in self.counts)
        lines = [f"{'recall at IoU':<14}{header}{'all':>8}   (boxes per image)"]
        for row, threshold in enumerate(self.ious):
            cells = "".join(f"{value:8.3f}" for value in self.values[row].tolist())
            lines.append(f"{threshold:<14}{cells}{float(self.overall[row]):8.3f}")
        lines.append(
            f"{counted(self.num_objects, 'object')} (difficult ones left out), "
            f"{counted(self.num_images, 'image')}, "
            f"{self.mean_boxes:,.0f} boxes per image"
        )
        return "\n".join(lines)


def proposal_recall(
    truths: Sequence[GroundTruth],
    proposals: Sequence[Proposals],
    ious: Sequence[float] = IOUS,
    counts: Sequence[int] | None = None,
) -> RecallTable:
    """Measure which objects the best boxes of each image cover, difficult objects left out.

    Args:
        truths: one per image.
        proposals: of the same images in the same order, best first.
        ious: thresholds.
        counts: numbers of boxes; None takes `COUNTS` as far as some image has more boxes.

    Raises:
        ValueError: if the two lists are not of the same images.
    """
    if [truth.image_id for truth in truths] != [
        image_proposals.image_id for image_proposals in proposals
    ]:
        message = "proposals: expected those of the truths' images, in the same order"
        raise ValueError(message)
    if counts is None:
        most = max((len(image_proposals.boxes) for image_proposals in proposals), default=0)
        counts = [count for count in COUNTS if count < most]
    per_image = [
        first_cover(truth.boxes[~truth.difficult], image_proposals.boxes, ious)
        for truth, image_proposals in zip(truths, proposals, strict=True)
    ]
    ranks = torch.cat([torch.zeros(len(ious), 0), *per_image], dim=1).sort(dim=1).values
    limits = torch.tensor(tuple(counts), dtype=torch.float32)
    return RecallTable(
        ious=tuple(ious),
        counts=tuple(counts),
        values=(ranks[:, :, None] <= limits).float().mean(dim=1),
        overall=ranks.isfinite().float().mean(dim=1),
        ranks=ranks,
        num_images=len(truths),
        num_objects=int(ranks.shape[1]),
        mean_boxes=sum(len(image_proposals.boxes) for image_proposals in proposals)
        / max(len(proposals), 1),
    )


def first_cover(
    objects: Float[Tensor, "o 4"], boxes: Float[Tensor, "r 4"], ious: Sequence[float]
) -> Float[Tensor, "t o"]:
    """Return the rank, from 1, of the first box that covers each object; infinity if none does."""
    if len(boxes) == 0:
        return torch.full((len(ious), len(objects)), torch.inf)
    overlaps = iou(objects, boxes)
    covers = overlaps[None] >= torch.tensor(tuple(ious))[:, None, None]
    first = covers.int().argmax(dim=2).float() + 1
    return torch.where(covers.any(dim=2), first, torch.inf)
