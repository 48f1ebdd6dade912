"""Why detections are wrong: six kinds of error, and how much mAP each costs.

Source:
    Bolya et al. 2020, TIDE (arXiv 2008.08115), §2. Right detections are those of the VOC devkit
    and the AP is the area under the curve, so that the sum starts from the mAP printed elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from detection.evaluation.matching import (
    FALSE_POSITIVE,
    TRUE_POSITIVE,
    ClassMatches,
    align,
    match_detections,
    pairwise_iou,
)
from detection.evaluation.voc_ap import area_under_curve, mean_of_known
from detection.structures import Detections, GroundTruth

ERROR_TYPES = {
    "Cls": "on an object of another class",
    "Loc": "right class, box too far off",
    "Both": "wrong class and box too far off",
    "Dupe": "on an object already found",
    "Bkg": "on background",
    "Miss": "object that nothing came near",
}
BACKGROUND_IOU = 0.1
"""A detection that overlaps no object by more than this is on background (TIDE §2.2)."""

_CLS, _LOC, _BOTH, _DUPE, _BKG = range(5)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ErrorTable:
    """What each kind of error costs.

    Attributes:
        ap: the area mAP as it is.
        delta: kind -> how much higher the mAP would be if only these errors were mended.
        count: kind -> how many wrong detections; for Miss, how many objects.
    """

    ap: float
    delta: dict[str, float]
    count: dict[str, int]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class _Judged:
    """Every detection of every image in one row.

    Attributes:
        scores: of each detection.
        labels: of each detection.
        right: true positives.
        counted: not ignored.
        kinds: index into ``ERROR_TYPES`` of each wrong detection, else -1.
        targets: of Cls and Loc errors, the object they should have matched, else -1.
        object_labels: of each object that is not difficult.
        matched: objects that a detection matches.
    """

    scores: Float[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    right: Bool[np.ndarray, " n"]
    counted: Bool[np.ndarray, " n"]
    kinds: Int[np.ndarray, " n"]
    targets: Int[np.ndarray, " n"]
    object_labels: Int[np.ndarray, " g"]
    matched: Bool[np.ndarray, " g"]


def error_types(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    num_classes: int,
    *,
    iou: float = 0.5,
) -> ErrorTable:
    """Sort the wrong detections and missed objects into six kinds, with the mAP that each costs.

    A wrong detection is, in this order: Loc if it overlaps an object of its class by ``[0.1,
    iou)``; Cls if it overlaps an object of another class by ``iou``; Dupe if its object was taken;
    Bkg if it overlaps nothing by more than 0.1; else Both. Mending Cls or Loc makes the best-scored
    such detection of each unfound object right and drops the others; mending Dupe, Bkg or Both
    drops them; mending Miss takes the objects away that no Cls or Loc error could have matched.

    Args:
        truths: one for each image of the split.
        detections: in any order; an image may be absent.
        num_classes: K.
        iou: the least overlap of a right detection.

    Raises:
        DataError: see ``evaluate_voc``.
    """
    judged = _judge(truths, align(truths, detections, num_classes), num_classes, iou)
    mended = _best_claims(judged)
    missed = ~judged.matched
    missed[judged.targets[judged.targets >= 0]] = False
    known = np.bincount(judged.object_labels, minlength=num_classes)
    without_missed = np.bincount(judged.object_labels[~missed], minlength=num_classes)
    ap = _mean_ap(judged, judged.counted, judged.right, judged.labels, known, known)
    fixed = {}
    for kind, name in enumerate(list(ERROR_TYPES)[:5]):
        keep = judged.counted & ((judged.kinds != kind) | (mended & (kind in {_CLS, _LOC})))
        right = judged.right | (keep & (judged.kinds == kind))
        labels = np.where(right & ~judged.right, _target_labels(judged), judged.labels)
        fixed[name] = _mean_ap(judged, keep, right, labels, known, known)
    fixed["Miss"] = _mean_ap(
        judged, judged.counted, judged.right, judged.labels, without_missed, known
    )
    counts = {name: int((judged.kinds == kind).sum()) for kind, name in enumerate(fixed)}
    return ErrorTable(
        ap=ap,
        delta={name: value - ap for name, value in fixed.items()},
        count={**counts, "Miss": int(missed.sum())},
    )


def _judge(
    truths: Sequence[GroundTruth], aligned: Sequence[Detections], num_classes: int, iou: float
) -> _Judged:
    matches = match_detections(truths, aligned, num_classes, iou=iou)
    starts = np.cumsum([0, *(len(of_image.scores) for of_image in aligned)])
    outcomes = _by_detection(matches, starts)
    kinds = np.full(starts[-1], -1)
    targets = np.full(starts[-1], -1)
    matched = []
    num_objects = 0
    for index, (truth, guess) in enumerate(zip(truths, aligned, strict=True)):
        here = slice(starts[index], starts[index + 1])
        easy = ~truth.difficult.numpy()
        overlap = pairwise_iou(
            guess.boxes.numpy().astype(np.float64), truth.boxes.numpy()[easy].astype(np.float64)
        )
        same = guess.labels.numpy()[:, None] == truth.labels.numpy()[easy][None, :]
        kinds[here], own = _kinds(overlap, same, iou)
        kinds[here][outcomes[here] != FALSE_POSITIVE] = -1
        aimed = (kinds[here] == _CLS) | (kinds[here] == _LOC)
        targets[here] = np.where(aimed, own + num_objects, -1)
        taken = np.zeros(int(easy.sum()), dtype=bool)
        right = outcomes[here] == TRUE_POSITIVE
        if right.any():
            taken[np.where(same, overlap, -1)[right].argmax(axis=1)] = True
        matched.append(taken)
        num_objects += len(taken)
    return _Judged(
        scores=_join([guess.scores.numpy() for guess in aligned], np.float64),
        labels=_join([guess.labels.numpy() for guess in aligned], np.int64),
        right=outcomes == TRUE_POSITIVE,
        counted=outcomes != 0,
        kinds=kinds,
        targets=targets,
        object_labels=_join([t.labels.numpy()[~t.difficult.numpy()] for t in truths], np.int64),
        matched=_join(matched, np.bool_),
    )


def _by_detection(
    matches: Sequence[ClassMatches], starts: Int[np.ndarray, " i"]
) -> Int[np.ndarray, " n"]:
    """Put the outcomes of each class back into the order of images and boxes."""
    outcomes = np.zeros(starts[-1], dtype=np.int64)
    for match in matches:
        outcomes[starts[match.images] + match.boxes] = match.outcomes
    return outcomes


def _kinds(
    overlap: Float[np.ndarray, "n g"], same: Bool[np.ndarray, "n g"], iou: float
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Return the error type each detection would have if wrong, and its object."""
    if overlap.shape[1] == 0:
        return np.full(len(overlap), _BKG), np.zeros(len(overlap), dtype=np.int64)
    of_class, of_others = np.where(same, overlap, 0.0), np.where(same, 0.0, overlap)
    nearest, nearest_other = of_class.max(axis=1), of_others.max(axis=1)
    is_loc = (nearest >= BACKGROUND_IOU) & (nearest < iou)
    kinds = np.select(
        [is_loc, nearest_other >= iou, nearest >= iou, overlap.max(axis=1) <= BACKGROUND_IOU],
        [_LOC, _CLS, _DUPE, _BKG],
        _BOTH,
    )
    return kinds, np.where(is_loc, of_class.argmax(axis=1), of_others.argmax(axis=1))


def _best_claims(judged: _Judged) -> Bool[np.ndarray, " n"]:
    """Mark for each missed object the best-scored Cls or Loc error that could have matched it."""
    rows = np.flatnonzero(judged.targets >= 0)
    rows = rows[~judged.matched[judged.targets[rows]]]
    rows = rows[np.argsort(-judged.scores[rows], kind="stable")]
    _, first = np.unique(judged.targets[rows], return_index=True)
    best = np.zeros(len(judged.scores), dtype=bool)
    best[rows[first]] = True
    return best


def _target_labels(judged: _Judged) -> Int[np.ndarray, " n"]:
    if len(judged.object_labels) == 0:
        return judged.labels
    labels: Int[np.ndarray, " n"] = judged.object_labels[judged.targets]
    return labels


def _mean_ap(
    judged: _Judged,
    keep: Bool[np.ndarray, " n"],
    right: Bool[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    num_objects: Int[np.ndarray, " k"],
    classes: Int[np.ndarray, " k"],
) -> float:
    """Return the mAP (area under the curve) of the kept detections over classes with objects."""
    ap = np.full(len(classes), np.nan)
    for label in np.flatnonzero(classes):
        rows = np.flatnonzero(keep & (labels == label))
        rows = rows[np.argsort(-judged.scores[rows], kind="stable")]
        hits = right[rows].cumsum()
        precision = hits / np.arange(1, len(rows) + 1)
        ap[label] = area_under_curve(hits / max(num_objects[label], 1), precision)
    return mean_of_known(ap)


def _join(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=dtype), *parts]).astype(dtype, copy=False)
