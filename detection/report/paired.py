"""How certain a difference between runs is: both scored on the same resampled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detection.errors import DetectionError
from detection.evaluation.bootstrap import bootstrap_difference
from detection.evaluation.matching import ClassMatches, match_detections
from detection.report.loading import Run, load_dataset
from detection.structures import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """The 11-point mAP of a run minus that of the first one.

    Attributes:
        name: of the run.
        difference: of the two mAPs, -1 to 1.
        low: the lower end of its paired 95% interval over images.
        high: the upper end.
    """

    name: str
    difference: float
    low: float
    high: float

    def format(self) -> str:
        """Return a line of text, in points of mAP."""
        points = (100 * value for value in (self.difference, self.low, self.high))
        return "{:+.1f} ({:+.1f} to {:+.1f})".format(*points)


def paired_differences(runs: Sequence[Run]) -> list[PairedDifference]:
    """Compare each run with the first one; leave out those that saw other images or classes.

    Args:
        runs: evaluated, with their detections and their data still there.
    """
    first, *others = runs
    others = [run for run in others if _comparable(first, run)]
    if not others or first.metrics is None:
        return []
    try:
        dataset = load_dataset(first)
    except DetectionError:
        return []
    reference = _matches(first, dataset)
    differences = []
    for run in others:
        low, high = bootstrap_difference(reference, _matches(run, dataset))
        means = [one.metrics["map"]["voc07"] for one in (first, run) if one.metrics]
        differences.append(
            PairedDifference(
                name=str(run.folder), difference=means[1] - means[0], low=low, high=high
            )
        )
    return differences


def _comparable(first: Run, other: Run) -> bool:
    """Return whether two runs were scored on the same images for the same classes."""
    if first.metrics is None or other.metrics is None or first.config is None:
        return False
    if first.detections is None or other.detections is None or other.config is None:
        return False
    keys = ("class_names", "num_images", "num_objects", "iou", "split")
    same = all(first.metrics.get(key) == other.metrics.get(key) for key in keys)
    scored = all(run.metrics["map"]["voc07"] is not None for run in (first, other) if run.metrics)
    return same and scored and first.config.data.root == other.config.data.root


def _matches(run: Run, dataset: Dataset) -> list[ClassMatches]:
    """Match a run's detections with the objects."""
    truths = [record.truth for record in dataset.records]
    metrics, found = run.metrics or {}, run.detections or {}
    detections = [found[t.image_id] for t in truths if t.image_id in found]
    iou = float(metrics.get("iou", 0.5))
    return list(match_detections(truths, detections, len(run.class_names), iou=iou))
