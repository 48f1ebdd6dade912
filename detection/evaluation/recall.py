"""How many objects are found at all, small ones and large ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detection.evaluation.matching import align, box_area, pairwise_iou
from detection.structures import Detections, GroundTruth

SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}
"""COCO's bounds of the box area in square pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRecall:
    """The objects of one size range.

    Attributes:
        num_objects: without difficult ones.
        num_found: overlapped enough by a detection of their class.
    """

    num_objects: int
    num_found: int


def recall_by_size(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    num_classes: int,
    *,
    threshold: float = -float("inf"),
    iou: float = 0.5,
) -> dict[str, SizeRecall]:
    """Count the objects that a detection of their class covers, by size.

    Args:
        truths: one for each image of the split.
        detections: in any order; an image may be absent.
        num_classes: K.
        threshold: the lowest score to look at.
        iou: an object is covered at this IoU or above.

    Raises:
        DataError: see ``evaluate_voc``.
    """
    areas, covered = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    for truth, image_detections in zip(truths, align(truths, detections, num_classes), strict=True):
        easy = ~truth.difficult.numpy()
        kept = image_detections.scores.numpy() >= threshold
        boxes = truth.boxes.numpy()[easy].astype(np.float64)
        overlap = pairwise_iou(boxes, image_detections.boxes.numpy()[kept].astype(np.float64))
        same = truth.labels.numpy()[easy][:, None] == image_detections.labels.numpy()[kept][None, :]
        areas.append(box_area(boxes))
        covered.append(((overlap >= iou) & same).any(axis=1))
    area, is_covered = np.concatenate(areas), np.concatenate(covered)
    inside = {name: (area >= low) & (area < high) for name, (low, high) in SIZES.items()}
    return {
        name: SizeRecall(num_objects=int(rows.sum()), num_found=int(is_covered[rows].sum()))
        for name, rows in inside.items()
    }
