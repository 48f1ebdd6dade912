"""Which detection found which object: the VOC devkit's assignment, once for all metrics.

Source:
    VOCdevkit2007/VOCcode/VOCevaldet.m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from detection.errors import DataError
from detection.structures import Detections, GroundTruth

TRUE_POSITIVE = 1
IGNORED = 0
FALSE_POSITIVE = -1


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ClassMatches:
    """The detections of one class over all images, best first, with what became of each.

    Attributes:
        scores: falling; ties keep the order of images, then of boxes within an image.
        images: index of each detection's image among the ground truths.
        boxes: index of each detection within its image.
        outcomes: 1 true positive, -1 false positive, 0 ignored (on a difficult object).
        objects: how many objects that are not difficult each image holds.
        difficult: how many difficult objects the class has in all.
    """

    scores: Float[np.ndarray, " n"]
    images: Int[np.ndarray, " n"]
    boxes: Int[np.ndarray, " n"]
    outcomes: Int[np.ndarray, " n"]
    objects: Int[np.ndarray, " i"]
    difficult: int

    @property
    def num_objects(self) -> int:
        """The number of objects to be found: the recall's denominator."""
        return int(self.objects.sum())


def pairwise_iou(
    a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, "n m"]:
    """Return the intersection over union of each pair in float64, as the devkit computes it."""
    shared = pairwise_intersection(a, b)
    union = box_area(a)[:, None] + box_area(b)[None, :] - shared
    overlap: Float[np.ndarray, "n m"] = shared / np.where(union > 0, union, 1)
    return overlap


def pairwise_intersection(
    a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, "n m"]:
    """Return the intersection area of each box of ``a`` with each box of ``b``."""
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    shared: Float[np.ndarray, "n m"] = np.maximum(width, 0) * np.maximum(height, 0)
    return shared


def box_area(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Return the area of each box."""
    areas: Float[np.ndarray, " n"] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def align(
    truths: Sequence[GroundTruth], detections: Sequence[Detections], num_classes: int
) -> list[Detections]:
    """Return the checked detections of each ground truth's image, empty where there are none.

    Every image of the ground truth stays in: one without detections lowers the recall.

    Raises:
        DataError: at an unknown or repeated image, a score or box that is not finite, or a label
            outside the classes.
    """
    known = {truth.image_id for truth in truths}
    if len(known) != len(truths):
        message = f"ground truth: expected each image once, got {len(truths) - len(known)} repeated"
        raise DataError(message)
    for truth in truths:
        _check_labels(truth.image_id, truth.labels.numpy(), num_classes, "object")
    by_id: dict[str, Detections] = {}
    for image_detections in detections:
        _check(image_detections, num_classes)
        if image_detections.image_id not in known:
            message = (
                f"{image_detections.image_id}: expected detections of images of the split, "
                "got an image without ground truth; evaluate on the split that was detected"
            )
            raise DataError(message)
        if image_detections.image_id in by_id:
            message = f"{image_detections.image_id}: expected one set of detections, got two"
            raise DataError(message)
        by_id[image_detections.image_id] = image_detections
    return [by_id.get(truth.image_id, Detections.none(truth.image_id)) for truth in truths]


def _check(detections: Detections, num_classes: int) -> None:
    if detections.num_unusable:
        message = (
            f"{detections.image_id}: expected finite scores and boxes, got "
            f"{detections.num_unusable} that are not; "
            "the model's weights or features hold NaN or infinity"
        )
        raise DataError(message)
    scores, boxes = detections.scores.numpy(), detections.boxes.numpy()
    for name, finite in (("score", np.isfinite(scores)), ("box", np.isfinite(boxes).all(axis=1))):
        if not finite.all():
            first = int(np.flatnonzero(~finite)[0])
            message = (
                f"{detections.image_id}: detection {first}: expected a finite {name}, got "
                f"{scores[first] if name == 'score' else boxes[first].tolist()}; "
                "the model's weights or features hold NaN or infinity"
            )
            raise DataError(message)
    _check_labels(detections.image_id, detections.labels.numpy(), num_classes, "detection")


def _check_labels(
    image_id: str, labels: Int[np.ndarray, " n"], num_classes: int, what: str
) -> None:
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        message = (
            f"{image_id}: {what} {first}: expected a label in 0..{num_classes - 1}, got "
            f"{int(labels[first])}; the class lists differ"
        )
        raise DataError(message)


def best_object(
    detections: Detections, truth: GroundTruth
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return each detection's best object of its class, difficult ones included, and the IoU.

    The first of equally near objects is taken. The IoU is -1 where the image has no object of the
    class.
    """
    if len(truth.labels) == 0 or len(detections.labels) == 0:
        return np.zeros(len(detections.labels), dtype=np.int64), np.full(
            len(detections.labels), -1.0
        )
    overlap = pairwise_iou(detections.boxes.double().numpy(), truth.boxes.double().numpy())
    overlap[detections.labels.numpy()[:, None] != truth.labels.numpy()[None, :]] = -1
    best = overlap.argmax(axis=1)
    return best, overlap[np.arange(len(best)), best]


def match_detections(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    num_classes: int,
    *,
    iou: float = 0.5,
) -> tuple[ClassMatches, ...]:
    """Judge every detection by the devkit's rules; return the matches of each class.

    A detection claims the one object of its class that it overlaps most, difficult objects
    included, if the IoU is ``iou`` or more. The best-scored claim of an object is right, every
    further one wrong; claims of a difficult object count neither way, however many.

    Args:
        truths: one for each image of the split.
        detections: in any order; images may be absent.
        num_classes: K.
        iou: the least overlap of a right detection.

    Raises:
        DataError: see ``align``.
    """
    aligned = align(truths, detections, num_classes)
    starts = np.cumsum([0, *(len(truth.labels) for truth in truths)])
    claimed = []
    for image_detections, truth, start in zip(aligned, truths, starts, strict=False):
        best, overlap = best_object(image_detections, truth)
        claimed.append(np.where(overlap >= iou, start + best, -1))
    claims = _concatenate(claimed, np.int64)
    hard = _concatenate([truth.difficult.numpy() for truth in truths], np.bool_)
    labels = _concatenate(
        [image_detections.labels.numpy() for image_detections in aligned], np.int64
    )
    scores = _concatenate(
        [image_detections.scores.numpy() for image_detections in aligned], np.float64
    )
    counts = np.array(
        [len(image_detections.labels) for image_detections in aligned], dtype=np.int64
    )
    images = np.repeat(np.arange(len(aligned)), counts)
    boxes = np.arange(len(images)) - np.repeat(np.cumsum(counts) - counts, counts)
    objects, difficult = _count_objects(truths, num_classes)
    by_class = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[by_class], np.arange(num_classes + 1))
    matches = []
    for label in range(num_classes):
        rows = by_class[bounds[label] : bounds[label + 1]]
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        matches.append(
            ClassMatches(
                scores=scores[rows],
                images=images[rows],
                boxes=boxes[rows],
                outcomes=_outcomes(claims[rows], hard),
                objects=objects[label],
                difficult=int(difficult[label]),
            )
        )
    return tuple(matches)


def _concatenate(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=dtype), *parts])


def _outcomes(claims: Int[np.ndarray, " n"], hard: Bool[np.ndarray, " g"]) -> Int[np.ndarray, " n"]:
    """Judge claims in the order of their scores: only the first claim of an object is right."""
    outcomes = np.full(len(claims), FALSE_POSITIVE, dtype=np.int8)
    rows = np.flatnonzero(claims >= 0)
    _, first = np.unique(claims[rows], return_index=True)
    outcomes[rows[first]] = TRUE_POSITIVE
    outcomes[rows[hard[claims[rows]]]] = IGNORED
    return outcomes


def _count_objects(
    truths: Sequence[GroundTruth], num_classes: int
) -> tuple[Int[np.ndarray, "k i"], Int[np.ndarray, " k"]]:
    objects = np.zeros((num_classes, len(truths)), dtype=np.int64)
    difficult = np.zeros(num_classes, dtype=np.int64)
    for index, truth in enumerate(truths):
        labels, hard = truth.labels.numpy(), truth.difficult.numpy()
        objects[:, index] = np.bincount(labels[~hard], minlength=num_classes)
        difficult += np.bincount(labels[hard], minlength=num_classes)
    return objects, difficult
