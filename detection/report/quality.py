"""The sections on what the detections get right and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detection.evaluation.confusion import confusion_matrix
from detection.evaluation.error_types import ERROR_TYPES, error_types
from detection.evaluation.recall import SIZES, recall_by_size
from detection.evaluation.voc_ap import precision_recall
from detection.proposals.recall import proposal_recall
from detection.proposals.store import ProposalStore
from detection.report import plots
from detection.report.gallery import Judged
from detection.report.loading import Run
from detection.report.parts import Absent, Section, svg
from detection.structures import Dataset, GroundTruth

MAX_CLASSES = 40
"""Of so many classes the curves and the confusion matrix are shown, those with most objects."""


def _largest_classes(judged: Sequence[Judged]) -> list[int]:
    counts = np.array([match.num_objects for match in judged[0].matches])
    order = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    return sorted(int(label) for label in order if counts[label])


def curves(judged: Sequence[Judged], class_names: Sequence[str]) -> Section:
    """Return a precision-recall chart per class, with all runs in it."""
    charts = []
    for label in _largest_classes(judged):
        lines = []
        for run in judged:
            curve = precision_recall(run.matches[label])
            lines.append(plots.Line(name=run.name, x=curve.recall, y=curve.precision))
        name = class_names[label]
        figure = plots.precision_recall_chart(name, lines)
        charts.append(svg(figure, f"precision against recall of {name}", f"pr{label}"))
    return {"charts": charts, "left_out": len(class_names) - len(charts)}


def errors(judged: Sequence[Judged], truths: Sequence[GroundTruth], iou: float) -> Section:
    """Return the six error types of each run."""
    tables = [error_types(truths, run.detections, len(run.matches), iou=iou) for run in judged]
    largest = max([max(table.delta.values()) for table in tables] + [1e-6])
    rows = [
        {
            "name": name,
            "meaning": meaning,
            "cells": [
                {
                    "delta": table.delta[name],
                    "share": max(table.delta[name], 0) / largest,
                    "count": table.count[name],
                }
                for table in tables
            ],
        }
        for name, meaning in ERROR_TYPES.items()
    ]
    return {"rows": rows, "ap": [table.ap for table in tables]}


def sizes(judged: Sequence[Judged], truths: Sequence[GroundTruth], iou: float) -> Section:
    """Return the recall of small, medium and large objects of each run."""
    tables = [
        recall_by_size(truths, run.detections, len(run.matches), threshold=run.threshold, iou=iou)
        for run in judged
    ]
    bounds = {"small": "under 32 x 32 px", "medium": "up to 96 x 96 px", "large": "larger"}
    return {
        "rows": [
            {
                "name": size,
                "bounds": bounds[size],
                "objects": tables[0][size].num_objects,
                "found": [table[size].num_found for table in tables],
            }
            for size in SIZES
        ]
    }


def confusion(
    judged: Sequence[Judged], truths: Sequence[GroundTruth], class_names: Sequence[str], iou: float
) -> Section:
    """Return each run's confusion matrix, its rows normalised."""
    labels = _largest_classes(judged)
    keep = [*labels, len(class_names)]
    tables = []
    for run in judged:
        counts = confusion_matrix(
            truths, run.detections, len(class_names), threshold=run.threshold, iou=iou
        ).counts[np.ix_(keep, keep)]
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        tables.append(
            {
                "name": run.name,
                "threshold": run.threshold,
                "rows": [
                    {
                        "name": class_names[row] if row < len(class_names) else "nothing",
                        "cells": [
                            {"count": int(n), "share": float(share)}
                            for n, share in zip(counts[index], shares[index], strict=True)
                        ],
                    }
                    for index, row in enumerate(keep)
                ],
            }
        )
    return {
        "columns": [*(class_names[label] for label in labels), "missed"],
        "tables": tables,
        "left_out": len(class_names) - len(labels),
    }


def proposals(run: Run, dataset: Dataset) -> Section | Absent:
    """Return the recall of the stored proposals against their number."""
    command = Absent("the proposals of these images are not stored", "detection propose")
    if run.config is None:
        return command
    store = ProposalStore(Path(run.config.proposals.folder), run.config.proposals)
    loaded = [store.load(record) for record in dataset.records]
    stored = [boxes for boxes in loaded if boxes is not None]
    if not stored or len(stored) < len(loaded):
        return command
    table = proposal_recall([record.truth for record in dataset.records], stored)
    longest = int(max(len(boxes.boxes) for boxes in stored))
    counts = np.unique(np.geomspace(1, max(longest, 2), 60).round().astype(int))
    figure = plots.line_chart(
        [
            plots.Line(name=f"IoU {iou:g}", x=counts.astype(float), y=row.numpy())
            for iou, row in zip(table.ious, table.curve(counts.tolist()), strict=True)
        ],
        x_label="boxes looked at, best first",
        y_label="objects covered",
        logarithmic=True,
    )
    return {
        "chart": svg(figure, "objects covered against boxes looked at", "recall"),
        "counts": list(table.counts),
        "rows": [
            {"iou": iou, "values": values.tolist(), "overall": float(overall)}
            for iou, values, overall in zip(table.ious, table.values, table.overall, strict=True)
        ],
        "num_objects": table.num_objects,
        "mean_boxes": table.mean_boxes,
        "backend": store.folder.name.split("-")[0],
    }
