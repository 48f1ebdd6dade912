"""The report's first sections: the scores, and how they were obtained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detection.config import Config
from detection.features.factory import EXTRACTORS
from detection.report.loading import Run
from detection.report.palette import run_colour
from detection.report.parts import Absent, Section
from detection.runs.config_io import difference
from detection.words import counted

_START = {
    "random": ["fc layers started from random values"],
    "resampled": ["fc6 started from another grid's weights, resampled"],
}


def summary(runs: Sequence[Run]) -> Section | Absent:
    """Return a card per run and the rules in words."""
    scored = [run for run in runs if run.metrics]
    if not scored:
        return Absent("no run was evaluated", "detection evaluate RUN")
    first = scored[0].metrics or {}
    return {
        "cards": [_card(run, runs.index(run)) for run in scored],
        "rules": first["rule"],
        "split": first["split"],
        "dataset": first.get("dataset", first["split"]),
        "num_images": first["num_images"],
        "num_objects": first.get("num_objects"),
        "num_difficult": first.get("num_difficult"),
        "num_classes": len(first["class_names"]),
        "without_truth": first.get("classes_without_ground_truth", []),
    }


def _card(run: Run, index: int) -> Section:
    metrics = run.metrics or {}
    return {
        "name": run.name,
        "colour": run_colour(index),
        "map": metrics["map"],
        "interval": metrics["interval"],
        "folder": run.folder.resolve().name,
        "facts": _facts(run.config, metrics) if run.config else [],
        "unevaluated": run.detections is None,
    }


def _facts(config: Config, metrics: Mapping[str, Any]) -> list[str]:
    features, tune = config.features, config.finetune
    classifier = "softmax" if tune.enabled and tune.scores == "softmax" else "SVMs"
    joint = tune.enabled and tune.joint_bbox
    moved = config.bbox.enabled or joint
    facts = [f"{config.backbone.name}, {classifier} on {features.layer}"]
    facts.append(EXTRACTORS[features.method].describe(features))
    facts.append(f"{'joint ' if joint else ''}box regression" if moved else "no box regression")
    if tune.enabled:
        epochs = counted(tune.epochs, "epoch", spec="g")
        length = epochs if tune.epochs else counted(tune.iterations, "batch", spec=",")
        facts.append(f"fine-tuned, {length}")
    return facts + _START.get(str(metrics.get("fc_start")), [])


def class_table(runs: Sequence[Run]) -> Section | Absent:
    """Return the 11-point AP of each class and run, the best of each class marked."""
    scored = [run for run in runs if run.metrics]
    if not scored:
        return Absent("no run was evaluated", "detection evaluate RUN")
    first = scored[0].metrics or {}
    rows = []
    for name in first["class_names"]:
        cells = [((run.metrics or {})["per_class"].get(name) or {}).get("voc07") for run in scored]
        best = max([value for value in cells if value is not None], default=None)
        rows.append(
            {
                "name": name,
                "objects": first["per_class"][name].get("num_objects", 0),
                "difficult": first["per_class"][name].get("num_difficult", 0),
                "cells": [{"value": v, "best": v is not None and v == best} for v in cells],
            }
        )
    return {
        "rows": rows,
        "runs": [{"name": r.name, "colour": run_colour(runs.index(r))} for r in scored],
        "mean": [(run.metrics or {})["map"]["voc07"] for run in scored],
    }


def making(runs: Sequence[Run]) -> Section:
    """Return how each run departs from the defaults, and where it ran."""
    return {
        "runs": [
            {
                "name": run.name,
                "folder": run.folder.resolve().name,
                "departures": difference(Config(), run.config) if run.config else [],
                "environment": _flat(run.environment or {}),
                "problems": run.problems,
            }
            for run in runs
        ]
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        rows += _flat(value, f"{name}: ") if isinstance(value, dict) else [(name, str(value))]
    return rows
