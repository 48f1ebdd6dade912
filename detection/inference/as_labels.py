"""Detections as labels, to be corrected in an annotation tool."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detection.data.annotations import CheckedObject
from detection.errors import DataError, DetectionError, shown
from detection.lazy import lazy
from detection.runs.folder import read_run_config
from detection.words import counted

results = lazy("detection.evaluation.results")  # needs torch, which detect's own files do not


def read_labels(
    path: Path, threshold: float | None = None, class_names: Sequence[str] = ()
) -> dict[str, list[CheckedObject]]:
    """Return image -> what was found in it, from a score on.

    Args:
        path: ``detections.json`` of ``detect``, whose images are named by their files, or
            ``detections/coco.json`` of a run, whose images are named by their identifiers.
        threshold: the lowest score to keep; None keeps all of ``detections.json``, which was cut
            when it was written, and of a run what its scorer decides for.
        class_names: label -> name; empty takes those of the run.

    Raises:
        DataError: if the file is neither.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        message = f"{path}: expected a file of detections, got {error}"
        raise DataError(message) from error
    if isinstance(content, dict):
        lowest = -math.inf if threshold is None else threshold
        return {file: _from_detect(path, file, entry, lowest) for file, entry in content.items()}
    return _from_run(path, threshold, class_names)


def _from_detect(path: Path, file: str, entry: object, lowest: float) -> list[CheckedObject]:
    """Read what ``detect`` found in one image."""
    rows = entry.get("detections") if isinstance(entry, dict) else None
    if not isinstance(rows, list) or not all(_is_found(row) for row in rows):
        message = f"{path}: {file}: expected what detect writes, got {shown(entry)}; detect again"
        raise DataError(message)
    return [
        _to_object(f"{path}: {file}: detection {number}", row["class"], row["box"])
        for number, row in enumerate(rows, start=1)
        if row["score"] >= lowest
    ]


def _is_found(row: object) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("class"), str):
        return False
    box = row.get("box")
    values = [*(box if isinstance(box, list) and len(box) == 4 else [None]), row.get("score")]
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _from_run(
    path: Path, threshold: float | None, class_names: Sequence[str]
) -> dict[str, list[CheckedObject]]:
    """Read the detections of a run.

    Raises:
        DataError: if these are no COCO results, or a class has no name.
    """
    run = path.absolute().parent.parent
    found = results.read_coco_json(path)
    lowest = _decision_threshold(run) if threshold is None else threshold
    names = tuple(class_names) or _names_of(run)
    largest = max((int(d.labels.max()) for d in found.values() if len(d.labels)), default=-1)
    if largest >= len(names):
        message = (
            f"{path}: expected names of {counted(largest + 1, 'class')}, got {len(names)}: there "
            f"is no {run / 'metrics.json'} with them; set data.class_names"
        )
        raise DataError(message)
    labels = {}
    for image_id, detections in found.items():
        rows = zip(
            detections.labels.tolist(),
            detections.scores.tolist(),
            detections.boxes.tolist(),
            strict=True,
        )
        labels[image_id] = [
            _to_object(f"{path}: image {image_id}: detection {number}", names[label], box)
            for number, (label, score, box) in enumerate(rows, start=1)
            if score >= lowest
        ]
    return labels


def _decision_threshold(run: Path) -> float:
    """Return the score that a run's scorer decides at; everything where there is no run."""
    try:
        tune = read_run_config(run).finetune
    except DetectionError:
        return -math.inf
    return 0.5 if tune.enabled and tune.scores == "softmax" else 0.0


def _names_of(run: Path) -> tuple[str, ...]:
    try:
        values: Mapping[str, Any] = json.loads((run / "metrics.json").read_bytes())
        return tuple(map(str, values["class_names"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _to_object(location: str, class_name: str, box: Sequence[float]) -> CheckedObject:
    x1, y1, x2, y2 = map(float, box)
    return CheckedObject(
        location=location, class_name=class_name, box=(x1, y1, x2, y2), difficult=False
    )
