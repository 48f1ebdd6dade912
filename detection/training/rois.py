"""What each RoI of a training image is an example of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detection.boxes import encode_deltas, iou
from detection.io.device import has_float64
from detection.postprocess import multiclass_nms
from detection.structures import GroundTruth


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class LabelledRoIs:
    """The proposals of an image, its objects behind them, and how they overlap.

    Attributes:
        boxes: image pixels: the proposals, then the objects.
        is_object: True for the boxes that are objects.
        max_iou: the greatest IoU with the objects of each class, difficult ones included; 0 where
            there is none.
        best_iou: the greatest IoU with any object that is trained on; both in float64.
        matched_gt: which object that is; 0 where there is none.
        gt_boxes: the objects that are trained on.
        gt_labels: their classes.
    """

    boxes: Float[Tensor, "r 4"]
    is_object: Bool[Tensor, " r"]
    max_iou: Float[Tensor, "r k"]
    best_iou: Float[Tensor, " r"]
    matched_gt: Int[Tensor, " r"]
    gt_boxes: Float[Tensor, "n 4"]
    gt_labels: Int[Tensor, " n"]

    def targets(
        self, chosen: Int[Tensor, " m"], inset: float = 0.0
    ) -> tuple[Int[Tensor, " m"], Float[Tensor, "m 4"]]:
        """Return the class and the delta of each chosen RoI's matched object."""
        objects = self.matched_gt[chosen]
        deltas = encode_deltas(self.boxes[chosen], self.gt_boxes[objects], inset=inset)
        return self.gt_labels[objects], deltas


def usable(truth: GroundTruth, *, difficult: bool) -> GroundTruth:
    """Return the objects to train on.

    Args:
        truth: all objects of the image.
        difficult: keep those marked difficult.
    """
    keep = ~truth.difficult | difficult
    return GroundTruth(
        image_id=truth.image_id,
        size=truth.size,
        boxes=truth.boxes[keep],
        labels=truth.labels[keep],
        difficult=truth.difficult[keep],
    )


def label_rois(
    proposals: Float[Tensor, "p 4"], truth: GroundTruth, num_classes: int, *, difficult: bool = True
) -> LabelledRoIs:
    """Compare proposals and objects with the objects.

    A difficult object that is not trained on still counts in ``max_iou``: what overlaps it is no
    negative of its class.

    Args:
        proposals: image pixels.
        truth: all objects of the image.
        num_classes: K.
        difficult: train on difficult objects too.
    """
    objects = usable(truth, difficult=difficult)
    boxes = torch.cat((proposals, objects.boxes))
    # In float64 an overlap of 6/10 is what 0.6 reads as; in float32 it would exceed it.
    exact = boxes.double()
    max_iou = exact.new_zeros(len(boxes), num_classes)
    overlaps = iou(exact, truth.boxes.double())
    max_iou.scatter_reduce_(1, truth.labels.expand(len(boxes), -1), overlaps, "amax")
    best_iou, matched_gt = exact.new_zeros(len(boxes)), torch.zeros(len(boxes), dtype=torch.int64)
    if len(objects.boxes):
        best_iou, matched_gt = iou(exact, objects.boxes.double()).max(dim=1)
    return LabelledRoIs(
        boxes=boxes,
        is_object=torch.arange(len(boxes)) >= len(proposals),
        max_iou=max_iou,
        best_iou=best_iou,
        matched_gt=matched_gt,
        gt_boxes=objects.boxes,
        gt_labels=objects.labels,
    )


def apart(
    boxes: Float[Tensor, "r 4"], chosen: Bool[Tensor, "r k"], overlap: float
) -> Bool[Tensor, "r k"]:
    """Return which of the chosen boxes of each class stay when the others drop out.

    In the order of the boxes, one that overlaps an earlier one that stays by more than ``overlap``
    drops out.

    Args:
        boxes: image pixels.
        chosen: of each class.
        overlap: an IoU; 1 drops none.

    Source:
        SPP §4.1, at 70%; which of two negatives is removed the paper does not say.
    """
    labels, rows = chosen.T.nonzero(as_tuple=True)
    kept = multiclass_nms(boxes[rows], torch.zeros(len(rows)), labels, overlap)
    out = torch.zeros_like(chosen)
    out[rows[kept], labels[kept]] = True
    return out


def max_by_row(
    values: Float[Tensor, "r k"], rows: Int[Tensor, " r"], num_rows: int
) -> Float[Tensor, "u k"]:
    """Return for each distinct feature vector the greatest value among the RoIs that share it.

    Args:
        values: one row per RoI, on any device.
        rows: the feature vector of each RoI.
        num_rows: number of distinct feature vectors.

    Returns:
        On the device of ``rows``, where the feature vectors are.
    """
    values = values.to(rows.device, torch.float64 if has_float64(rows.device) else torch.float32)
    out = values.new_zeros(num_rows, values.shape[1])
    return out.scatter_reduce_(0, rows[:, None].expand(-1, values.shape[1]), values, "amax")
