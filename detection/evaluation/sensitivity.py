"""How much the average precision depends on an object's size, shape, truncation and occlusion.

Source:
    Hoiem, Chodpathumwan and Dai 2012, Diagnosing Error in Object Detectors, §3; with the released
    code where the paper leaves a number open. R-CNN's Figure 6 shows the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from detection.evaluation.matching import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    ClassMatches,
    align,
    best_object,
    box_area,
    match_detections,
)
from detection.evaluation.voc_ap import area_under_curve, mean_of_known
from detection.structures import Detections, GroundTruth

NORMALISED_SHARE = 0.15
"""The number of objects that every subset is taken to have, as a part of the number of images."""

TENTHS = (1, 3, 7, 9)
"""Where a class's sizes and aspect ratios are cut into five subsets, in tenths of its objects."""

SUBSETS = {
    "size": ("XS", "S", "M", "L", "XL"),
    "aspect ratio": ("XT", "T", "M", "W", "XW"),
    "truncation": ("whole", "truncated"),
    "occlusion": ("free", "occluded"),
}
"""Characteristic -> its subsets; of the aspect ratio from extra tall to extra wide."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Characteristic:
    """The normalised average precision of the subsets of one characteristic.

    Attributes:
        name: what differs.
        subsets: their names.
        ap: of each class and subset; NaN where the class has no such object.
        num_objects: of each class and subset, difficult ones left out.
    """

    name: str
    subsets: tuple[str, ...]
    ap: Float[np.ndarray, "k s"]
    num_objects: Int[np.ndarray, "k s"]

    @property
    def mean(self) -> Float[np.ndarray, " s"]:
        """The mean over the classes that have such objects."""
        return np.array([mean_of_known(column) for column in self.ap.T])

    @property
    def lowest(self) -> float:
        """The mean over classes of the subset that is found worst."""
        return mean_of_known(self._comparable(np.inf).min(axis=1))

    @property
    def highest(self) -> float:
        """The mean over classes of the subset that is found best."""
        return mean_of_known(self._comparable(-np.inf).max(axis=1))

    def _comparable(self, unknown: float) -> Float[np.ndarray, "c s"]:
        """Return the classes with two known subsets or more, and a number for the others."""
        known = ~np.isnan(self.ap)
        rows = known.sum(axis=1) >= 2
        filled: Float[np.ndarray, "c s"] = np.where(known, self.ap, unknown)[rows]
        return filled


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Sensitivity:
    """What ``sensitivity`` returns.

    Attributes:
        ap: the normalised average precision of all objects of each class; NaN without objects.
        normalised_to: the number of objects that every subset is taken to have.
        characteristics: those of which two subsets or more have objects.
    """

    ap: Float[np.ndarray, " k"]
    normalised_to: float
    characteristics: tuple[Characteristic, ...]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class _Objects:
    """The objects of all images in one row.

    Attributes:
        labels: of each.
        counted: not difficult.
        values: characteristic -> of each object; a flag is 1, 0 or -1 for unknown.
    """

    labels: Int[np.ndarray, " g"]
    counted: Bool[np.ndarray, " g"]
    values: dict[str, Float[np.ndarray, " g"]]


def sensitivity(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    num_classes: int,
    *,
    iou: float = 0.5,
) -> Sensitivity:
    """Return the normalised average precision of subsets of each class's objects.

    Objects outside of a subset are ignored: what finds them is neither right nor wrong. All false
    positives stay. So that a rare subset is not worse for being rare, the number of right
    detections is scaled as though the subset had 0.15 objects for each image.

    Args:
        truths: one for each image of the split.
        detections: in any order; an image may be absent.
        num_classes: K.
        iou: the least overlap of a right detection.

    Raises:
        DataError: see ``evaluate_voc``.
    """
    aligned = align(truths, detections, num_classes)
    matches = match_detections(truths, aligned, num_classes, iou=iou)
    objects = _objects(truths)
    claims = _claims(aligned, truths, matches)
    pseudo = NORMALISED_SHARE * len(truths)
    everything = np.where(objects.counted, 0, -1)
    characteristics = []
    for name, subsets in SUBSETS.items():
        places = _places(name, objects, num_classes)
        ap, counts = _by_subset(matches, claims, objects.labels, places, len(subsets), pseudo)
        if (counts.sum(axis=0) > 0).sum() > 1:
            characteristics.append(
                Characteristic(name=name, subsets=subsets, ap=ap, num_objects=counts)
            )
    return Sensitivity(
        ap=_by_subset(matches, claims, objects.labels, everything, 1, pseudo)[0][:, 0],
        normalised_to=pseudo,
        characteristics=tuple(characteristics),
    )


def normalised_ap(outcomes: Int[np.ndarray, " n"], num_objects: int, normalised_to: float) -> float:
    """Return the area under a curve of normalised precision; NaN without objects.

    With recall R and F false positives the normalised precision is ``R N / (R N + F)``: the
    precision if the class had N objects. Law: with ``N = num_objects`` it is the area AP.

    Args:
        outcomes: 1 right, -1 wrong, 0 ignored, best-scored first.
        num_objects: to be found.
        normalised_to: N.
    """
    if num_objects == 0:
        return np.nan
    counted = outcomes[outcomes != IGNORED]
    recall = np.cumsum(counted == TRUE_POSITIVE) / num_objects
    right = recall * normalised_to
    precision = right / (right + np.cumsum(counted == FALSE_POSITIVE))
    return area_under_curve(recall, precision)


def fifths(values: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return for each value which of five subsets it belongs to: 10, 20, 40, 20 and 10 percent.

    A value equal to a bound belongs below it, so that equal values stay together. Of n values the
    bound at a tenth is the one with rank n/10, halves rounded up, and none where that is 0.
    """
    rising = np.sort(values)
    ranks = [(tenth * len(values) + 5) // 10 for tenth in TENTHS]
    bounds = [rising[rank - 1] if rank else -np.inf for rank in ranks]
    places: Int[np.ndarray, " n"] = (values[:, None] > np.array(bounds)).sum(axis=1)
    return places


def _objects(truths: Sequence[GroundTruth]) -> _Objects:
    boxes = np.concatenate([np.zeros((0, 4)), *(t.boxes.double().numpy() for t in truths)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return _Objects(
        labels=_join([truth.labels.numpy() for truth in truths]),
        counted=_join([~truth.difficult.numpy() for truth in truths]).astype(bool),
        values={
            "size": box_area(boxes),
            "aspect ratio": width / np.where(height > 0, height, 1),
            "truncation": _flags(truths, "truncated"),
            "occlusion": _flags(truths, "occluded"),
        },
    )


def _flags(truths: Sequence[GroundTruth], name: str) -> Float[np.ndarray, " g"]:
    known = [getattr(truth, name) for truth in truths]
    every = [
        np.full(len(truth.labels), -1) if flags is None else flags.numpy()
        for truth, flags in zip(truths, known, strict=True)
    ]
    return _join(every).astype(np.float64)


def _join(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _claims(
    aligned: Sequence[Detections], truths: Sequence[GroundTruth], matches: Sequence[ClassMatches]
) -> list[Int[np.ndarray, " _"]]:
    """Return for each class the object that each detection overlaps most; past the last if none."""
    first_detection = np.cumsum([0, *(len(found.labels) for found in aligned)])
    first_object = np.cumsum([0, *(len(truth.labels) for truth in truths)])
    nearest = []
    for found, truth, start in zip(aligned, truths, first_object, strict=False):
        best, overlap = best_object(found, truth)
        nearest.append(np.where(overlap >= 0, start + best, first_object[-1]))
    every = _join(nearest)
    return [every[first_detection[match.images] + match.boxes] for match in matches]


def _places(name: str, objects: _Objects, num_classes: int) -> Int[np.ndarray, " g"]:
    """Return the subset of each object; -1 of difficult ones and where nothing is known."""
    values = objects.values[name]
    if len(SUBSETS[name]) == len(TENTHS) + 1:
        places = np.full(len(values), -1)
        for label in range(num_classes):
            rows = objects.counted & (objects.labels == label)
            places[rows] = fifths(values[rows])
        return places
    return np.where(objects.counted, values.astype(np.int64), -1)


def _by_subset(
    matches: Sequence[ClassMatches],
    claims: Sequence[Int[np.ndarray, " _"]],
    labels: Int[np.ndarray, " g"],
    places: Int[np.ndarray, " g"],
    num_subsets: int,
    normalised_to: float,
) -> tuple[Float[np.ndarray, "k s"], Int[np.ndarray, "k s"]]:
    """Return the normalised average precision of each class and subset, and its objects."""
    ap = np.full((len(matches), num_subsets), np.nan)
    counts = np.zeros(ap.shape, dtype=np.int64)
    for label, (match, claimed) in enumerate(zip(matches, claims, strict=True)):
        of_claimed = np.append(places, -1)[claimed]
        for subset in range(num_subsets):
            outside = (match.outcomes == TRUE_POSITIVE) & (of_claimed != subset)
            outcomes = np.where(outside, IGNORED, match.outcomes)
            counts[label, subset] = ((labels == label) & (places == subset)).sum()
            ap[label, subset] = normalised_ap(outcomes, int(counts[label, subset]), normalised_to)
    return ap, counts
