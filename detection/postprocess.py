"""Step 5: from scores to detections: threshold, per-class suppression, the best of each class."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable

import numpy as np
import torch
import torchvision
from jaxtyping import Float, Int
from torch import Tensor

from detection.boxes import iou as boxes_iou
from detection.config import PostprocessConfig
from detection.runs.device import is_host
from detection.runs.threads import in_threads
from detection.structures import Detections

logger = logging.getLogger(__name__)

NUMBA_AVAILABLE = importlib.util.find_spec("numba") is not None
Refine = Callable[[Int[Tensor, " m"], Int[Tensor, " m"]], Float[Tensor, "m 4"]]
"""From the rows and labels of the boxes that are left to their final boxes."""


def suppress(
    boxes: Float[Tensor, "r 4"],
    scores: Float[Tensor, "r k"],
    config: PostprocessConfig,
    *,
    refine: Refine | None = None,
    image_id: str = "",
) -> Detections:
    """Give the detections of one image, best first.

    The order is the papers': threshold, suppression among the proposals, the best of each class,
    regression of these few, suppression again because boxes moved. ``first_nms`` off leaves out the
    first suppression, as the released R-CNN does. ``vote_iou`` lets the boxes that the last
    suppression removes move those that it keeps.

    Everything happens on the device of the scores; the detections are moved to the CPU at the end,
    all in one transfer. On a GPU the host waits where the number of boxes that are left must be
    known: after the threshold, after each suppression, and for values that are not finite.

    Args:
        boxes: the proposals, image pixels, on the device of the scores.
        scores: of each proposal for each class.
        config: thresholds and limits.
        refine: moves the boxes that are left; None keeps them.
        image_id: of the image.
    """
    usable = boxes.isfinite().all(dim=1)[:, None] & scores.isfinite()
    num_unusable = _report_unusable(usable, image_id)
    rows, labels = (usable & (scores > config.score_threshold)).nonzero(as_tuple=True)
    kept = _best(boxes[rows], scores[rows, labels], labels, config, suppressing=config.first_nms)
    rows, labels = rows[kept], labels[kept]
    best = scores[rows, labels]
    moved = boxes[rows]
    if refine is not None:
        moved = refine(rows, labels).to(moved)
        finite = moved.isfinite().all(dim=1)
        num_unusable += _report_unusable(finite[:, None], image_id)
        moved, best, labels = moved[finite], best[finite], labels[finite]
    if config.second_nms and (refine is not None or not config.first_nms):
        kept = multiclass_nms(moved, best, labels, config.nms_iou)
        if config.vote_iou:
            weights = best - config.score_threshold
            moved = vote(moved, weights, labels, kept, config.vote_iou)
        else:
            moved = moved[kept]
        best, labels = best[kept], labels[kept]
    order = best.argsort(descending=True, stable=True)
    boxes, best, labels = _to_host(moved[order], best[order], labels[order])
    return Detections(
        image_id=image_id, boxes=boxes, scores=best, labels=labels, num_unusable=num_unusable
    )


def _to_host(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], labels: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "n 4"], Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Return the same on the CPU: one transfer instead of three, labels as (exact) floats."""
    if is_host(boxes.device):
        return boxes, scores, labels
    rows = torch.cat((boxes, scores[:, None], labels[:, None].to(boxes)), dim=1).cpu()
    return rows[:, :4].contiguous(), rows[:, 4].to(scores.dtype), rows[:, 5].long()


def vote(
    boxes: Float[Tensor, "n 4"],
    weights: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    kept: Int[Tensor, " m"],
    iou: float,
) -> Float[Tensor, "m 4"]:
    """Give the kept boxes, each as the weighted mean of what overlaps it.

    ``B = sum_j w_j B_j / sum_j w_j`` over the boxes ``j`` of the same class whose IoU with the kept
    box is ``iou`` or more, itself included. Law: a box that nothing overlaps stays.

    Args:
        boxes: image pixels, finite.
        weights: above 0.
        labels: 0..K-1.
        kept: rows of the boxes to give.
        iou: at most 1.

    Source:
        Gidaris and Komodakis, arXiv 1505.01749, §3.3.
    """
    overlap = boxes_iou(boxes[kept], boxes)
    voters = (overlap >= iou) & (labels[kept][:, None] == labels)
    index = torch.arange(len(kept), device=kept.device)
    voters[index, kept] = True  # also where an empty box overlaps nothing
    shares = (voters * weights).double()
    return (shares @ boxes.double() / shares.sum(dim=1, keepdim=True)).to(boxes)


def nms(boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], iou: float) -> Int[Tensor, " m"]:
    """Give the rows that greedy suppression keeps, best first.

    A box goes where it overlaps a better one by more than ``iou``. Laws: keeping what is kept
    keeps all of it; no two kept boxes overlap by more.
    """
    labels = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    return multiclass_nms(boxes, scores, labels, iou)


def multiclass_nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    iou: float,
    limit: int = 0,
) -> Int[Tensor, " m"]:
    """Give the rows that suppression within each class keeps, by class and then best first.

    Args:
        boxes: image pixels, finite.
        scores: finite; of equal ones the earlier is better.
        labels: 0..K-1.
        iou: a box that overlaps a better one of its class by more than this goes.
        limit: stop at so many boxes of a class; 0 for all.
    """
    if not len(boxes):
        return labels
    if NUMBA_AVAILABLE and is_host(boxes.device) and boxes.dtype == scores.dtype == torch.float32:
        return _numba_nms(boxes, scores, labels, iou, limit or len(boxes))
    order = _by_class_and_score(scores, labels)
    if not is_host(boxes.device):
        return _first_of_class(_offset_nms(boxes, scores, labels, iou, order), labels, limit)
    kept = []
    for rows in torch.split(order, torch.bincount(labels).tolist()):
        kept.append(rows[torchvision.ops.nms(boxes[rows], scores[rows], iou)][: limit or None])
    return torch.cat(kept)


def _by_class_and_score(scores: Float[Tensor, " n"], labels: Int[Tensor, " n"]) -> Tensor:
    by_score = scores.argsort(descending=True, stable=True)
    return by_score[labels[by_score].argsort(stable=True)]


def _numba_nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    iou: float,
    limit: int,
) -> Int[Tensor, " m"]:
    from detection.nms_kernel import suppress_classes

    sizes = torch.bincount(labels)
    edges = torch.cat((sizes.new_zeros(1), sizes.cumsum(0))).numpy()
    rows = torch.argsort(labels.to(torch.int16), stable=True)
    numbers = torch.zeros_like(sizes)
    in_boxes, in_scores = boxes.contiguous().numpy(), (scores + 0.0).numpy()  # -0.0 becomes 0.0
    out_rows, out_numbers = rows.numpy(), numbers.numpy()

    def work(a: int, b: int) -> None:
        part = edges[a : b + 1]
        suppress_classes(in_boxes, in_scores, out_rows, part, iou, limit, out_numbers[a:b])

    in_threads(work, len(sizes))
    ranges = zip(edges.tolist(), numbers.tolist(), strict=False)
    return torch.cat([rows[start : start + number] for start, number in ranges])


def _offset_nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    iou: float,
    order: Int[Tensor, " n"],
) -> Int[Tensor, " m"]:
    """Suppress all classes in one call on the device, each class moved away from the others.

    In float64, where the offset costs no precision that float32 boxes have; the threshold is where
    an overlap that is rounded to float32 starts to exceed ``iou``.
    """
    apart = boxes.double()
    apart = apart + ((apart.max() - apart.min() + 1) * labels)[:, None]
    above = np.nextafter(np.float32(iou), np.float32(np.inf))
    above = np.float32(iou) if float(np.float32(iou)) > iou else above
    edge = (float(above) + float(np.nextafter(above, np.float32(0)))) / 2
    kept = torchvision.ops.nms(apart, scores.double(), edge)
    chosen = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    chosen[kept] = True
    return order[chosen[order]]


def _first_of_class(
    rows: Int[Tensor, " m"], labels: Int[Tensor, " n"], limit: int
) -> Int[Tensor, " l"]:
    """Keep the first ``limit`` rows of each class, rows being in order of class."""
    if not limit:
        return rows
    own = labels[rows]
    rank = torch.arange(len(rows), device=rows.device) - torch.searchsorted(own, own)
    return rows[rank < limit]


def _best(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    config: PostprocessConfig,
    *,
    suppressing: bool,
) -> Int[Tensor, " m"]:
    if suppressing:
        return multiclass_nms(boxes, scores, labels, config.nms_iou, config.max_per_class)
    return _first_of_class(_by_class_and_score(scores, labels), labels, config.max_per_class)


def _report_unusable(usable: Tensor, image_id: str) -> int:
    """Say how many values are not finite, and give their number."""
    count = int((~usable).sum())
    if count:
        logger.warning(
            "%s: expected finite boxes and scores, got %d that are not; they are left out",
            image_id or "image",
            count,
        )
    return count
