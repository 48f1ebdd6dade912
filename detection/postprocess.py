"""Step 5: from scores to detections: threshold, per-class suppression, the best of each class.

As in the papers, candidates are proposals that `detector` regresses, suppressed again afterwards.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detection.config import PostprocessConfig
from detection.io.device import is_host
from detection.kernels.jit import NUMBA_AVAILABLE
from detection.kernels.nms import suppress_classes
from detection.kernels.threads import in_threads
from detection.lazy import lazy
from detection.soft_nms import soften
from detection.structures import Detections
from detection.voting import vote

Ties = Literal["first", "last"]

ops = lazy("torchvision.ops")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Candidates:
    """Pairs of a box and a class that may become detections, on the device of the scores.

    Attributes:
        rows: which of the scored boxes.
        boxes: image pixels; the proposals themselves until they are regressed.
        scores: of the class.
        labels: 0..K-1.
        num_unusable: scores that were not finite and are left out.
    """

    rows: Int[Tensor, " m"]
    boxes: Float[Tensor, "m 4"]
    scores: Float[Tensor, " m"]
    labels: Int[Tensor, " m"]
    num_unusable: int = 0

    def at(self, chosen: Int[Tensor, " l"] | Bool[Tensor, " m"]) -> Candidates:
        """Return some of them."""
        return replace(
            self,
            rows=self.rows[chosen],
            boxes=self.boxes[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
        )


def select_candidates(
    boxes: Float[Tensor, "r 4"],
    scores: Float[Tensor, "r k"],
    config: PostprocessConfig,
    *,
    image_id: str = "",
) -> Candidates:
    """Return the boxes to regress: above the threshold, not suppressed, the best of each class.

    ``first_nms`` off leaves out the suppression, as the released R-CNN does. On a GPU the host
    waits here for three numbers: of unusable scores, of boxes above the threshold, and of those
    that are left.

    Args:
        boxes: the proposals, image pixels, on the device of the scores.
        scores: of each proposal for each class.
        config: thresholds and limits.
        image_id: for messages.
    """
    usable = boxes.isfinite().all(dim=1)[:, None] & scores.isfinite()
    num_unusable = _report_unusable(usable, image_id)
    rows, labels = (usable & (scores > config.score_threshold)).nonzero(as_tuple=True)
    candidates = Candidates(
        rows=rows,
        boxes=boxes[rows],
        scores=scores[rows, labels],
        labels=labels,
        num_unusable=num_unusable,
    )
    return candidates.at(_best(candidates, config))


def finalize(
    candidates: Candidates, config: PostprocessConfig, *, image_id: str = ""
) -> Detections:
    """Return the detections of one image on the CPU, best first.

    The candidates are suppressed once more, by NMS or `soften`, because regression moved them.
    ``vote_iou`` lets suppressed boxes move those that are kept. All go to the CPU in one transfer;
    a GPU's host also waits for the numbers of unusable boxes and of those that are left.

    Args:
        candidates: after regression.
        config: thresholds and limits.
        image_id: of the image.
    """
    finite = candidates.boxes.isfinite().all(dim=1)
    num_unusable = candidates.num_unusable + _report_unusable(finite[:, None], image_id)
    left = candidates.at(finite)
    known = left.boxes, left.scores, left.labels
    if config.soft_sigma:
        scores = soften(*known, config.soft_sigma, config.score_threshold)
        left = replace(left, scores=scores).at(scores > config.score_threshold)
    elif config.second_nms:
        kept = multiclass_nms(*known, config.nms_iou, ties=config.ties)
        boxes = left.boxes[kept]
        if config.vote_iou:
            weights = left.scores - config.score_threshold
            boxes = vote(left.boxes, weights, left.labels, kept, config.vote_iou)
        left = replace(left.at(kept), boxes=boxes)
    best = left.at(left.scores.argsort(descending=True, stable=True))
    boxes, scores, labels = _to_host(best.boxes, best.scores, best.labels)
    return Detections(
        image_id=image_id, boxes=boxes, scores=scores, labels=labels, num_unusable=num_unusable
    )


def _to_host(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], labels: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "n 4"], Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Return the same on the CPU: one transfer instead of three, labels as (exact) floats."""
    if is_host(boxes.device):
        return boxes, scores, labels
    rows = torch.cat((boxes, scores[:, None], labels[:, None].to(boxes)), dim=1).cpu()
    return rows[:, :4].contiguous(), rows[:, 4].to(scores.dtype), rows[:, 5].long()


def nms(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], iou: float, ties: Ties = "first"
) -> Int[Tensor, " m"]:
    """Return the rows that greedy NMS keeps, best first.

    A box goes where it overlaps a better one by more than ``iou``; of equal scores the first or the
    last is better. Laws: keeping what is kept keeps all of it; no two kept boxes overlap by more.
    """
    labels = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    return multiclass_nms(boxes, scores, labels, iou, ties=ties)


def multiclass_nms(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    iou: float,
    limit: int = 0,
    ties: Ties = "first",
) -> Int[Tensor, " m"]:
    """Return the rows that per-class NMS keeps, by class and then best first.

    Args:
        boxes: image pixels, finite.
        scores: finite.
        labels: 0..K-1.
        iou: a box that overlaps a better one of its class by more than this goes.
        limit: stop at so many boxes of a class; 0 for all.
        ties: of equal scores the ``first`` is better, or the ``last`` as in nms.m and nms_mex.cpp.
    """
    if not len(boxes):
        return labels
    if ties == "last":
        turned = multiclass_nms(boxes.flip(0), scores.flip(0), labels.flip(0), iou, limit)
        return len(boxes) - 1 - turned
    # Overlaps are float32: an overlap of exactly 3/10 exceeds 0.3, but not 0.3 rounded as it is.
    iou = float(np.float32(iou))
    if NUMBA_AVAILABLE and is_host(boxes.device) and boxes.dtype == scores.dtype == torch.float32:
        return _numba_nms(boxes, scores, labels, iou, limit or len(boxes))
    order = _by_class_and_score(scores, labels)
    if not is_host(boxes.device):
        return _first_of_class(_offset_nms(boxes, scores, labels, iou, order), labels, limit)
    kept = []
    for rows in torch.split(order, torch.bincount(labels).tolist()):
        kept.append(rows[ops.nms(boxes[rows], scores[rows], iou)][: limit or None])
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
    an overlap that is rounded to float32 starts to exceed ``iou``, itself a float32 value.
    """
    apart = boxes.double()
    apart = apart + ((apart.max() - apart.min() + 1) * labels)[:, None]
    edge = (iou + float(np.nextafter(np.float32(iou), np.float32(np.inf)))) / 2
    kept = ops.nms(apart, scores.double(), edge)
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


def _best(candidates: Candidates, config: PostprocessConfig) -> Int[Tensor, " m"]:
    boxes, scores, labels = candidates.boxes, candidates.scores, candidates.labels
    if config.first_nms:
        return multiclass_nms(
            boxes, scores, labels, config.nms_iou, config.max_per_class, config.ties
        )
    return _first_of_class(_by_class_and_score(scores, labels), labels, config.max_per_class)


def _report_unusable(usable: Tensor, image_id: str) -> int:
    """Say how many values are not finite, and return their number."""
    count = int((~usable).sum())
    if count:
        logger.warning(
            "%s: expected finite boxes and scores, got %d that are not; they are left out",
            image_id or "image",
            count,
        )
    return count
