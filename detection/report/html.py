"""``detection report``: one HTML file on one run or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detection.errors import DataError, DetectionError
from detection.report import diagnosis, quality
from detection.report.gallery import Judged, judge
from detection.report.headline import headline
from detection.report.images import images, spp
from detection.report.loading import Run, load_dataset, load_runs
from detection.report.page import write_page
from detection.report.palette import run_colour
from detection.report.parts import Absent
from detection.report.reliability import reliability
from detection.report.speed import measured, speed
from detection.report.summary import class_table, making, summary
from detection.structures import Dataset


def report_run(run_folders: Sequence[Path], output: Path, *, images_each: int = 3) -> None:
    """Write one self-contained HTML page on one run or several, side by side.

    What a run folder lacks leaves out its section; the page names the command that would add it.

    Args:
        run_folders: of training and evaluation, or holding a benchmark.json.
        output: the HTML file.
        images_each: how many images to show as best, worst, most different.

    Raises:
        DataError: if a folder holds nothing to report, or the page cannot be written.
    """
    if not run_folders:
        message = "report: expected one run folder or more, got none"
        raise DataError(message)
    runs = load_runs(run_folders)
    detectors = [run for run in runs if run.metrics or run.config]
    dataset, judged, why = _compare(detectors)
    # Those that can be compared come first: a run's place is its colour in every chart.
    compared = [run.name for run in judged]
    detectors.sort(key=lambda run: run.name not in compared)
    values: dict[str, Any] = {
        "title": " and ".join(run.name for run in detectors[:3]) or "Speed",
        "runs": [{"name": run.name, "colour": run_colour(n)} for n, run in enumerate(detectors)],
        "headline": headline(detectors, judged, measured(runs)),
        "summary": summary(detectors),
        "classes": class_table(detectors),
        "reliability": reliability(detectors),
        "speed": speed(runs),
        "making": making(runs),
        "notes": why,
        **_on_images(detectors, judged, dataset, images_each),
    }
    write_page(Path(output), "report.html.j2", values)


def _compare(runs: Sequence[Run]) -> tuple[Dataset | None, list[Judged], list[str]]:
    """Judge all runs on the first one's images; log which cannot be, and why."""
    dataset, judged, notes = None, [], []
    for run in runs:
        try:
            if run.metrics is None or run.detections is None:
                message = f"{run.name}: no detections are stored; run detection evaluate"
                raise DataError(message)
            if dataset is None:
                dataset = load_dataset(run)
            judged.append(_judge(run, dataset))
        except DetectionError as error:
            notes.append(f"{error}")
    return (dataset if judged else None), judged, notes


def _judge(run: Run, dataset: Dataset) -> Judged:
    if run.class_names != dataset.class_names:
        message = (
            f"{run.name}: expected the classes of {dataset.name}, got others; evaluate it there"
        )
        raise DataError(message)
    known = {record.image_id for record in dataset.records}
    stray = [image_id for image_id in run.detections or {} if image_id not in known]
    if stray:
        message = f"{run.name}: {stray[0]}: expected an image of {dataset.name}; evaluate it there"
        raise DataError(message)
    truths = [record.truth for record in dataset.records]
    detections = list((run.detections or {}).values())
    return judge(run.name, truths, detections, len(dataset.class_names), _iou(run))


def _iou(run: Run) -> float:
    return float((run.metrics or {}).get("iou", 0.5))


def _on_images(
    runs: Sequence[Run], judged: Sequence[Judged], dataset: Dataset | None, count: int
) -> dict[str, Any]:
    """Return the sections that need detections and the data set's annotations."""
    names = (
        *("curves", "images", "errors", "false_positives", "sizes", "sensitivity", "confusion"),
        *("proposals", "spp"),
    )
    if dataset is None:
        absent = Absent(
            "detections, or the images they belong to, are not there", "detection evaluate"
        )
        return dict.fromkeys(names, absent)
    truths = [record.truth for record in dataset.records]
    first = next(run for run in runs if run.name == judged[0].name)
    iou = _iou(first)
    max_pixels = first.config.data.max_pixels if first.config else 0
    groups = first.config.evaluation.similar_classes if first.config else ()
    return {
        "curves": quality.curves(judged, dataset.class_names),
        "images": images(judged, dataset, count=count, max_pixels=max_pixels),
        "errors": quality.errors(judged, truths, iou),
        "false_positives": diagnosis.false_positives(
            judged, truths, dataset.class_names, iou, groups
        ),
        "sizes": quality.sizes(judged, truths, iou),
        "sensitivity": diagnosis.sensitivities(judged, truths, iou),
        "confusion": quality.confusion(judged, truths, dataset.class_names, iou),
        "proposals": quality.proposals(first, dataset),
        "spp": spp(runs, judged, dataset),
    }
