"""Average precision as the PASCAL VOC devkit defines it, with both its rules.

Of every two published "mAP at 0.5" figures one may be another number: 11 points or area, difficult
objects counted or not. Each result here carries its rule in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from detection.errors import DataError
from detection.evaluation.matching import (
    FALSE_POSITIVE,
    TRUE_POSITIVE,
    ClassMatches,
    match_detections,
)
from detection.structures import Detections, GroundTruth

Rule = Literal["voc07", "voc10"]

RECALL_THRESHOLDS: Float[np.ndarray, " 11"] = np.arange(11) * 0.1
"""The devkit's ``0:0.1:1`` as multiples of 0.1 in float64, as the Python ports of the devkit have
it. Three of them lie one rounding step above the decimal number (0.3, 0.6, 0.7), so that a recall
of exactly 3/10 does not reach the fourth. MATLAB documents that its colon operator counts the upper
half down from the end, which rounds 0.6 and 0.7 the other way; the two differ only where a class's
recall is exactly 0.6 or 0.7."""

RULES: dict[Rule, str] = {
    "voc07": "VOC2007: mean precision at 11 recalls",
    "voc10": "VOC2010+: area under the monotone precision-recall curve",
}


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Curve:
    """The precision and recall after each counted detection of a class, best first.

    Attributes:
        recall: rising.
        precision: of all detections up to this one.
        scores: the detections' scores, falling.
    """

    recall: Float[np.ndarray, " n"]
    precision: Float[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class VocResult:
    """How well detections find the objects of each class.

    Attributes:
        rule: ``voc07`` or ``voc10``.
        iou: the least overlap of a right detection.
        class_names: label -> name.
        ap: for each class; NaN where the split has no object of it to find.
        map: the mean over the classes that have objects; NaN where none has.
        curves: for each class.
        num_images: images of the split, those without detections included.
        num_objects: objects to find, for each class.
        num_difficult: difficult objects, for each class: never counted.
    """

    rule: Rule
    iou: float
    class_names: tuple[str, ...]
    ap: Float[np.ndarray, " k"]
    map: float
    curves: tuple[Curve, ...]
    num_images: int
    num_objects: tuple[int, ...]
    num_difficult: tuple[int, ...]

    @property
    def classes_without_ground_truth(self) -> tuple[str, ...]:
        """The classes left out of the mean: the split has none, or only difficult ones."""
        counts = zip(self.class_names, self.num_objects, strict=True)
        return tuple(name for name, count in counts if count == 0)

    def describe(self) -> str:
        """Say in words which number this is."""
        return describe_rule(self.rule, self.iou)


def describe_rule(rule: Rule, iou: float) -> str:
    """Say in words what an average precision of this rule means."""
    return (
        f"{RULES[rule]}, IoU >= {iou:g}, difficult objects ignored, classes without objects left "
        "out of the mean"
    )


def evaluate_voc(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    *,
    iou: float = 0.5,
    rule: Rule = "voc07",
) -> VocResult:
    """Score detections as the VOC devkit does. Law: the ground truth itself scores 1.

    Args:
        truths: one for each image of the split.
        detections: in any order; an image may be absent, it then has none.
        class_names: label -> name.
        iou: the least overlap of a right detection.
        rule: ``voc07`` for 11 points, ``voc10`` for the area.

    Raises:
        DataError: at an unknown or repeated image, a score or box that is not finite, or a label
            outside the classes.

    Source:
        VOCdevkit2007/VOCcode/VOCevaldet.m; VOCdevkit2010/VOCcode/VOCevaldet.m and VOCap.m.
    """
    matches = match_detections(truths, detections, len(class_names), iou=iou)
    return score_matches(matches, class_names, iou=iou, rule=rule)


def score_matches(
    matches: Sequence[ClassMatches],
    class_names: Sequence[str],
    *,
    iou: float = 0.5,
    rule: Rule = "voc07",
) -> VocResult:
    """Return the average precision of each class from its matches.

    Raises:
        DataError: at a score that is not finite.
    """
    for name, match in zip(class_names, matches, strict=True):
        if not np.isfinite(match.scores).all():
            message = f"class {name!r}: expected finite scores, got NaN or infinity; train again"
            raise DataError(message)
    average = eleven_points if rule == "voc07" else area_under_curve
    curves, values = [], []
    for match in matches:
        curve = precision_recall(match)
        curves.append(curve)
        values.append(average(curve.recall, curve.precision) if match.num_objects else np.nan)
    ap = np.array(values)
    return VocResult(
        rule=rule,
        iou=iou,
        class_names=tuple(class_names),
        ap=ap,
        map=mean_of_known(ap),
        curves=tuple(curves),
        num_images=len(matches[0].objects) if matches else 0,
        num_objects=tuple(match.num_objects for match in matches),
        num_difficult=tuple(match.difficult for match in matches),
    )


def mean_of_known(ap: Float[np.ndarray, " k"]) -> float:
    """Return the mean of the values that are not NaN; NaN if none is left."""
    known = ap[~np.isnan(ap)]
    return float(known.mean()) if len(known) else np.nan


def precision_recall(match: ClassMatches) -> Curve:
    """Return the precision-recall curve of one class; ignored detections do not affect it."""
    right = np.cumsum(match.outcomes == TRUE_POSITIVE)
    wrong = np.cumsum(match.outcomes == FALSE_POSITIVE)
    counted = match.outcomes != 0
    right, wrong = right[counted], wrong[counted]
    return Curve(
        recall=right / max(match.num_objects, 1),
        precision=right / (right + wrong),
        scores=match.scores[counted],
    )


def eleven_points(recall: Float[np.ndarray, " n"], precision: Float[np.ndarray, " n"]) -> float:
    """Return the mean over 11 recalls of the best precision at or above each (VOC2007)."""
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(recall, RECALL_THRESHOLDS)].mean())


def area_under_curve(recall: Float[np.ndarray, " n"], precision: Float[np.ndarray, " n"]) -> float:
    """Return the area under the monotone curve, from recall 0 (VOC2010 and later)."""
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best))
