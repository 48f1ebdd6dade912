"""COCO's average precision, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection.evaluation.matching import align
from detection.evaluation.voc_ap import mean_of_known
from detection.structures import CocoTerms, Detections, GroundTruth

MAX_DETECTIONS = 100
"""pycocotools reads this many of the best detections of each class of an image (COCO's maxDets)."""

COCO_RULE = (
    "COCO: mean of 101 interpolated precisions, averaged over IoU 0.50:0.05:0.95, the best "
    f"{MAX_DETECTIONS} detections for each class of an image, difficult objects ignored, classes "
    "without objects left out of the mean"
)

_COCO_AREAS = [0.0, 1e5**2]  # what pycocotools calls all areas

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class CocoResult:
    """COCO's summary of all classes.

    Attributes:
        ap: the mean over classes and over the IoUs 0.50, 0.55, ... 0.95; NaN without any object.
        ap50: the same at IoU 0.5.
        ap75: the same at IoU 0.75.
        per_class: AP of each class; NaN where the split has no object of it to find.
        per_class_50: the same at IoU 0.5.
        rule: which number this is, in words.
    """

    ap: float
    ap50: float
    ap75: float
    per_class: Float[np.ndarray, " k"]
    per_class_50: Float[np.ndarray, " k"]
    rule: str = COCO_RULE


class _BoxEvaluation(COCOeval):  # type: ignore[misc]
    """COCOeval in which an ignored object that is no crowd overlaps like any other.

    pycocotools takes ``ignore`` from ``iscrowd`` alone and measures crowds by another overlap
    (intersection over the detection's area). Difficult objects are marked ``iscrowd`` here, so that
    any number of detections on one is ignored as the VOC devkit does; those that are no ``crowd``
    keep the ordinary IoU.
    """

    def computeIoU(self, imgId: Any, catId: Any) -> Any:  # noqa: N802, N803
        """Return the plain IoU of the best detections with the objects of a class."""
        objects, detected = self._gts[imgId, catId], self._dts[imgId, catId]
        if not objects or not detected:
            return []
        order = np.argsort([-row["score"] for row in detected], kind="mergesort")
        best = [detected[index]["bbox"] for index in order[: self.params.maxDets[-1]]]
        crowds = [int(row["crowd"]) for row in objects]
        return mask.iou(best, [row["bbox"] for row in objects], crowds)


def evaluate_coco(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    terms: CocoTerms | None = None,
) -> CocoResult:
    """Score detections as COCO does. Law: the ground truth itself scores 1.

    With the terms of a COCO file it is the file's own objects that are found or not, as they stand
    there. Law: pycocotools computes the same number for the file and the results in its terms.

    Without any detection every AP is 0. Where an image has more than 100 detections of a class the
    worst-scored ones are not read; a warning says how many.

    Args:
        truths: one for each image of the split.
        detections: in any order; an image may be absent, it then has none.
        class_names: label -> name.
        terms: of the COCO file that the truths were read from; None takes the truths themselves.

    Raises:
        DataError: see ``evaluate_voc``.
    """
    aligned = align(truths, detections, len(class_names))
    _warn_of_surplus(aligned)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _BoxEvaluation(*_indices(truths, aligned, class_names, terms), "bbox")
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.params.areaRng = [[0, float("inf")] if terms is None else _COCO_AREAS]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    by_iou = _precision(evaluation).mean(axis=1)
    if terms is not None:  # pycocotools has the classes in the order of their identifiers
        by_iou = by_iou[:, _ranks(terms.category_ids)]
    per_class = by_iou.mean(axis=0)
    return CocoResult(
        ap=mean_of_known(per_class),
        ap50=mean_of_known(by_iou[0]),
        ap75=mean_of_known(by_iou[5]),
        per_class=per_class,
        per_class_50=by_iou[0],
    )


def _precision(evaluation: _BoxEvaluation) -> Float[np.ndarray, "t r k"]:
    """Return the interpolated precision per IoU, recall and class; NaN without objects.

    pycocotools divides by a count plus 2e-16, so that one right detection of one has a precision
    just below 1: that is set right here.
    """
    precision = evaluation.eval["precision"][:, :, :, 0, 0]
    precision = np.where(precision > 1 - 1e-12, 1.0, precision)
    return np.where(precision < 0, np.nan, precision)


def _warn_of_surplus(detections: Sequence[Detections]) -> None:
    surplus = sum(
        int(np.maximum(np.bincount(image_detections.labels.numpy()) - MAX_DETECTIONS, 0).sum())
        for image_detections in detections
        if len(image_detections.labels) > MAX_DETECTIONS
    )
    if surplus:
        logger.warning(
            "COCO AP reads the best %d detections for each class of an image: %d of %d are not "
            "read",
            MAX_DETECTIONS,
            surplus,
            sum(len(image_detections.labels) for image_detections in detections),
        )


def _indices(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    terms: CocoTerms | None,
) -> tuple[COCO, COCO]:
    """Return pycocotools' indices of the objects and of the detections.

    In a file's terms images and classes are numbered by the rank of their identifiers: so
    pycocotools sorts them, on which the order of equal scores depends.
    """
    if terms is None:
        objects, image_detections = _truth_rows(truths), _detection_rows(detections)
        size = len(truths), class_names
        return _index(_numbered(objects), *size), _index(_numbered(image_detections), *size)
    own = [terms.image_ids[truth.image_id] for truth in truths]
    images = dict(zip(own, _ranks(own), strict=True))
    ranks = _ranks(terms.category_ids)
    classes = dict(zip(terms.category_ids, ranks, strict=True))
    objects = [
        {
            **row,
            "image_id": images[row["image_id"]],
            "category_id": classes[row["category_id"]],
            "crowd": row["iscrowd"],
        }
        for row in terms.annotations
        if row["image_id"] in images
    ]
    image_detections = [
        {
            **row,
            "image_id": images[own[row["image_id"]]],
            "category_id": ranks[row["category_id"]],
        }
        for row in _detection_rows(detections)
    ]
    size = len(truths), class_names
    return _index(objects, *size), _index(_numbered(image_detections), *size)


def _ranks(identifiers: Sequence[int | str]) -> list[int]:
    """Return the rank of each identifier in their order, numbers before texts."""
    order = sorted(identifiers, key=lambda key: (isinstance(key, str), key))
    position = {identifier: rank for rank, identifier in enumerate(order)}
    return [position[identifier] for identifier in identifiers]


def _truth_rows(truths: Sequence[GroundTruth]) -> list[dict[str, Any]]:
    return [
        {**row, "iscrowd": int(hard), "crowd": crowd}
        for image, truth in enumerate(truths)
        for row, hard, crowd in zip(
            _rows(image, truth.boxes.numpy(), truth.labels.numpy()),
            truth.difficult.tolist(),
            _crowds(truth),
            strict=True,
        )
    ]


def _crowds(truth: GroundTruth) -> list[bool]:
    return [False] * len(truth.labels) if truth.crowd is None else truth.crowd.tolist()


def _detection_rows(detections: Sequence[Detections]) -> list[dict[str, Any]]:
    return [
        {**row, "score": score}
        for image, image_detections in enumerate(detections)
        for row, score in zip(
            _rows(image, image_detections.boxes.numpy(), image_detections.labels.numpy()),
            image_detections.scores.tolist(),
            strict=True,
        )
    ]


def _rows(image: int, boxes: Float[np.ndarray, "n 4"], labels: np.ndarray) -> list[dict[str, Any]]:
    corners = boxes.astype(np.float64)
    extents = corners[:, 2:] - corners[:, :2]
    xywh = np.concatenate([corners[:, :2], extents], axis=1).tolist()
    areas = extents.prod(axis=1).tolist()
    return [
        {"image_id": image, "category_id": int(label), "bbox": box, "area": area}
        for box, area, label in zip(xywh, areas, labels, strict=True)
    ]


def _numbered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Number the rows from 1: pycocotools reads the id 0 as *not matched*."""
    return [{**row, "id": position} for position, row in enumerate(rows, start=1)]


def _index(rows: list[dict[str, Any]], num_images: int, class_names: Sequence[str]) -> COCO:
    """Return pycocotools' index of rows that have their ids."""
    index = COCO()
    index.dataset = {
        "images": [{"id": image} for image in range(num_images)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(class_names)],
        "annotations": rows,
    }
    index.createIndex()
    return index
