"""Which images to show, and what became of each object on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from detection.evaluation.confusion import best_threshold
from detection.evaluation.matching import (
    FALSE_POSITIVE,
    TRUE_POSITIVE,
    ClassMatches,
    align,
    best_object,
    match_detections,
)
from detection.report.drawing import Line, Mark, as_boxes
from detection.report.palette import DIFFICULT, MISSED, RIGHT, WRONG
from detection.structures import Detections, GroundTruth

_LOOKS: dict[int, tuple[str, str, Line]] = {
    TRUE_POSITIVE: (RIGHT, "\N{CHECK MARK} ", "solid"),
    FALSE_POSITIVE: (WRONG, "\N{BALLOT X} ", "solid"),
    0: (DIFFICULT, "", "dotted"),
}
"""Outcome of a detection -> colour, sign before its label, outline."""

LEGEND: tuple[tuple[str, str, Line], ...] = (
    ("\N{CHECK MARK} right", RIGHT, "solid"),
    ("\N{BALLOT X} wrong", WRONG, "solid"),
    ("missed object", MISSED, "dashed"),
    ("on a difficult object, not counted", DIFFICULT, "dotted"),
)
"""What each outline means."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Judged:
    """A run's detections on a data set, judged.

    Attributes:
        name: of the run.
        detections: of every image, in the data set's order.
        matches: of every class.
        threshold: the score with the best F1; lower ones are not shown.
        right: right detections above it, for each image.
        wrong: wrong ones.
        objects: to be found.
    """

    name: str
    detections: tuple[Detections, ...]
    matches: tuple[ClassMatches, ...]
    threshold: float
    right: Int[np.ndarray, " i"]
    wrong: Int[np.ndarray, " i"]
    objects: Int[np.ndarray, " i"]

    @property
    def quality(self) -> Float[np.ndarray, " i"]:
        """Right over right, wrong and missed, for each image; NaN where there is nothing."""
        counted = self.wrong + self.objects
        shares: Float[np.ndarray, " i"] = self.right / np.where(counted > 0, counted, np.nan)
        return shares


def judge(
    name: str,
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    num_classes: int,
    iou: float,
) -> Judged:
    """Match a run's detections and count what is right in each image.

    Raises:
        DataError: if they are not of these images and classes.
    """
    aligned = align(truths, detections, num_classes)
    matches = match_detections(truths, aligned, num_classes, iou=iou)
    threshold = best_threshold(matches)
    return Judged(
        name=name,
        detections=tuple(aligned),
        matches=matches,
        threshold=threshold,
        right=_count(matches, TRUE_POSITIVE, threshold, len(truths)),
        wrong=_count(matches, FALSE_POSITIVE, threshold, len(truths)),
        objects=np.sum([match.objects for match in matches], axis=0),
    )


def _count(
    matches: Sequence[ClassMatches], outcome: int, threshold: float, num_images: int
) -> Int[np.ndarray, " i"]:
    images = [
        match.images[(match.outcomes == outcome) & (match.scores >= threshold)] for match in matches
    ]
    return np.bincount(np.concatenate(images), minlength=num_images)


def choose_images(runs: Sequence[Judged], count: int = 3) -> dict[str, list[int]]:
    """Choose images: ``best`` and ``worst`` for all runs, ``different`` for the first two.

    No image stands in two groups; images without objects stand in none. Among equals, one with more
    objects and wrong boxes comes first, then the first in the list.
    """
    objects = runs[0].objects
    quality = np.mean([run.quality for run in runs], axis=0)
    events = objects + np.sum([run.wrong for run in runs], axis=0)
    distances = {"best": -quality, "worst": quality}
    if len(runs) > 1:
        distances["different"] = -np.abs(runs[0].quality - runs[1].quality)
    chosen: dict[str, list[int]] = {"best": [], "worst": [], "different": []}
    taken: set[int] = set()
    for name in ("different", "worst", "best"):
        if name not in distances:
            continue
        distance = np.round(distances[name], 6)
        order = np.lexsort((np.arange(len(objects)), -events, distance))
        fits = (objects > 0) & ((distance < 0) | (name != "different"))
        chosen[name] = [int(n) for n in order if fits[n] and int(n) not in taken][:count]
        taken.update(chosen[name])
    return chosen


def mark_image(
    run: Judged, index: int, truth: GroundTruth, class_names: Sequence[str]
) -> list[Mark]:
    """Mark the detections of one image as right, wrong or ignored, and the objects missed."""
    detections = run.detections[index]
    outcomes = np.zeros(len(detections.scores), dtype=int)
    for match in run.matches:
        rows = match.images == index
        outcomes[match.boxes[rows]] = match.outcomes[rows]
    shown = detections.scores.numpy() >= run.threshold
    nearest, _ = best_object(detections, truth)
    taken = set(nearest[shown & (outcomes == TRUE_POSITIVE)].tolist())
    marks = [
        Mark(
            box=box,
            text=f"{_LOOKS[int(outcome)][1]}{class_names[label]} {score:.2f}",
            colour=_LOOKS[int(outcome)][0],
            line=_LOOKS[int(outcome)][2],
        )
        for box, label, score, outcome, is_shown in zip(
            as_boxes(detections.boxes),
            detections.labels.tolist(),
            detections.scores.tolist(),
            outcomes,
            shown,
            strict=True,
        )
        if is_shown
    ]
    missed = [
        Mark(box=box, text=f"missed: {class_names[label]}", colour=MISSED, line="dashed")
        for place, (box, label, difficult) in enumerate(
            zip(as_boxes(truth.boxes), truth.labels.tolist(), truth.difficult.tolist(), strict=True)
        )
        if not difficult and place not in taken
    ]
    return marks + missed
