"""Suppressed boxes vote on where a detection lies: beyond both papers."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.boxes import iou as boxes_iou


def vote(
    boxes: Float[Tensor, "n 4"],
    weights: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    kept: Int[Tensor, " m"],
    iou: float,
) -> Float[Tensor, "m 4"]:
    """Return the kept boxes, each as the weighted mean of the boxes that overlap it.

    ``B = sum_j w_j B_j / sum_j w_j`` over the boxes ``j`` of the same class whose IoU with the kept
    box is ``iou`` or more, itself included. Law: a box that nothing overlaps stays.

    Args:
        boxes: image pixels, finite.
        weights: above 0.
        labels: 0..K-1.
        kept: rows of the boxes to return.
        iou: at most 1.

    Source:
        Gidaris and Komodakis, arXiv 1505.01749, §3.3.
    """
    overlap = boxes_iou(boxes[kept].double(), boxes.double())  # 6/10 is then what 0.6 reads as
    voters = (overlap >= iou) & (labels[kept][:, None] == labels)
    index = torch.arange(len(kept), device=kept.device)
    voters[index, kept] = True  # also where an empty box overlaps nothing
    shares = (voters * weights).double()
    return (shares @ boxes.double() / shares.sum(dim=1, keepdim=True)).to(boxes)
