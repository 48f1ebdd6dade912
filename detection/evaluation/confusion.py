"""Which class is taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from detection.evaluation.matching import (
    FALSE_POSITIVE,
    TRUE_POSITIVE,
    ClassMatches,
    align,
    pairwise_iou,
)
from detection.structures import Detections, GroundTruth


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Confusion:
    """A table of K + 1 rows and columns.

    Attributes:
        counts: row: what is there, K for nothing; column: what was detected, K for nothing.
        threshold: detections scored lower were not looked at.
    """

    counts: Int[np.ndarray, "k1 k1"]
    threshold: float


def best_threshold(matches: Sequence[ClassMatches]) -> float:
    """Return the score threshold with the best F1 over all classes together.

    Returns:
        The lowest score to keep; infinity where nothing right was detected.
    """
    scores = np.concatenate([np.zeros(0), *(match.scores for match in matches)])
    outcomes = np.concatenate([np.zeros(0, np.int8), *(match.outcomes for match in matches)])
    order = np.argsort(-scores, kind="stable")
    scores, outcomes = scores[order], outcomes[order]
    right = np.cumsum(outcomes == TRUE_POSITIVE)
    wrong = np.cumsum(outcomes == FALSE_POSITIVE)
    if len(right) == 0 or right[-1] == 0:
        return float("inf")
    num_objects = sum(match.num_objects for match in matches)
    last_of_score = np.append(scores[1:] < scores[:-1], True)
    f1 = np.where(last_of_score, 2 * right / (right + wrong + num_objects), -1)
    return float(scores[f1.argmax()])


def confusion_matrix(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    num_classes: int,
    *,
    threshold: float,
    iou: float = 0.5,
) -> Confusion:
    """Pair detections with objects of any class and count the pairs of classes.

    Best score first, a detection takes the object that it overlaps most among those still free and
    overlapped by ``iou``. Each object stands in the table once, in its row. A detection that
    overlaps no object at all stands in the last row; one on a difficult or taken object nowhere.

    Args:
        truths: one for each image of the split.
        detections: in any order; an image may be absent.
        num_classes: K.
        threshold: the lowest score to look at.
        iou: the least overlap of a pair.

    Raises:
        DataError: see ``evaluate_voc``.
    """
    counts = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    for truth, image_detections in zip(truths, align(truths, detections, num_classes), strict=True):
        kept = image_detections.scores.numpy() >= threshold
        order = np.argsort(-image_detections.scores.numpy()[kept], kind="stable")
        labels = image_detections.labels.numpy()[kept][order]
        overlap = pairwise_iou(
            image_detections.boxes.numpy()[kept][order].astype(np.float64),
            truth.boxes.numpy().astype(np.float64),
        )
        _count_pairs(counts, overlap >= iou, overlap, labels, truth)
    return Confusion(counts=counts, threshold=threshold)


def _count_pairs(
    counts: Int[np.ndarray, "k1 k1"],
    near: np.ndarray,
    overlap: Float[np.ndarray, "n g"],
    labels: Int[np.ndarray, " n"],
    truth: GroundTruth,
) -> None:
    nothing = len(counts) - 1
    free = ~truth.difficult.numpy()
    true_labels = truth.labels.numpy()
    for row, label in enumerate(labels):
        candidates = np.flatnonzero(near[row] & free)
        if len(candidates):
            best = candidates[overlap[row, candidates].argmax()]
            counts[true_labels[best], label] += 1
            free[best] = False
        elif not near[row].any():
            counts[nothing, label] += 1
    for label in true_labels[free]:
        counts[label, nothing] += 1
