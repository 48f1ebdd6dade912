"""What a row came to: read from the files that its test wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from detection.reproduce.table import VOC_CLASSES, Row, Task

State = Literal["done", "missing", "impossible", "waiting"]

_VOC07_TEST, _IMAGENET_VAL = 4952, 50_000
_CALTECH = {"images": 9144, "classes": 102, "splits": 10, "train": 30 * 102}
"""Caltech101 and its splits as in SPP §3.3."""
_DEVIATIONS = 1.96
"""Standard errors to both sides of a 95% interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """What a training cost, over all its lives, without the search for boxes.

    Attributes:
        seconds: on the clock.
        whole: no life was ended so hard that its time is not known.
        cpu_seconds: of all processor cores; None where a part of it was not measured.
        peak_gib: the most memory of the process while it trained; None where it is not known.
    """

    seconds: float
    whole: bool = True
    cpu_seconds: float | None = None
    peak_gib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """A row and what became of it.

    Attributes:
        row: of the table.
        commands: that make it without the table.
        state: ``waiting`` for its turn; ``impossible`` where nothing can be got that would help.
        missing: what it needs, or why there is no such row; a line each.
        value: percent.
        top5: error of a classifier, percent.
        interval: 95%, percent.
        deviation: standard deviation over random splits, percent.
        classes: class name -> AP, percent.
        num_images: that were tested.
        tested_on: their list or data set.
        official: they are the images that the papers' numbers are of.
        trunk: the network, where it is not the paper's; empty where it is.
        notes: what makes it another number than the paper's.
        training: what it cost.
        seconds: of an image, without its boxes.
    """

    row: Row
    commands: tuple[str, ...]
    state: State = "waiting"
    missing: tuple[str, ...] = ()
    value: float | None = None
    top5: float | None = None
    interval: tuple[float, float] | None = None
    deviation: float | None = None
    classes: Mapping[str, float | None] | None = None
    num_images: int = 0
    tested_on: str = ""
    official: bool = False
    trunk: str = ""
    notes: tuple[str, ...] = ()
    training: Duration | None = None
    seconds: float | None = None


def scores(values: Mapping[str, Any], row: Row, task: Task) -> dict[str, Any]:
    """Return the fields of a `RowResult` that metrics.json holds."""
    if task == "classification":
        return _classifier(values, row)
    return _splits(values) if task == "folders" else _detector(values)


def _detector(values: Mapping[str, Any]) -> dict[str, Any]:
    low, high = values["interval"] or (None, None)
    return {
        "value": _percent(values["map"]["voc07"]),
        "interval": None if low is None or high is None else (100 * low, 100 * high),
        "classes": {name: _percent(one["voc07"]) for name, one in values["per_class"].items()},
        "num_images": values["num_images"],
        "tested_on": values.get("dataset", values["split"]),
        "official": values["num_images"] == _VOC07_TEST
        and sorted(values["class_names"]) == sorted(VOC_CLASSES),
    }


def _splits(values: Mapping[str, Any]) -> dict[str, Any]:
    splits = values["splits"]
    found = {
        "images": values["num_images"],
        "classes": len(values["class_names"]),
        "splits": len(splits),
        "train": splits[0]["num_train"],
    }
    return {
        "value": 100 * values["accuracy"],
        "deviation": _percent(values["deviation"]),
        "classes": {name: 100 * value for name, value in values["per_class"].items()},
        "num_images": values["num_images"],
        "tested_on": values["split"],
        "official": found == _CALTECH,
    }


def _classifier(values: Mapping[str, Any], row: Row) -> dict[str, Any]:
    accuracies = values["views"][row.view]
    error, spread = accuracies["top1_error"], _DEVIATIONS * accuracies["standard_error"]
    return {
        "value": 100 * error,
        "top5": 100 * accuracies["top5_error"],
        "interval": (100 * max(error - spread, 0.0), 100 * min(error + spread, 1.0)),
        "num_images": values["num_pictures"],
        "tested_on": values["split"],
        "official": values["num_pictures"] == _IMAGENET_VAL,
    }


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
