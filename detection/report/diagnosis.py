"""The sections on Hoiem's analyses: which false positives come first, which objects are hard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from detection.evaluation.hoiem import (
    FALSE_POSITIVE_TYPES,
    MULTIPLES,
    RankedKinds,
    detection_shares,
    false_positive_shares,
    mean_of_classes,
    rank_false_positives,
    similar_classes,
    similar_groups,
)
from detection.evaluation.sensitivity import Characteristic, Sensitivity, sensitivity
from detection.evaluation.voc_ap import mean_of_known
from detection.report.figures import canvas, finish, styled
from detection.report.gallery import Judged
from detection.report.palette import FALSE_POSITIVES, run_colour
from detection.report.parts import Absent, Section, svg
from detection.structures import GroundTruth

ALL = "all classes"

MAX_GROUPS = 6
"""So many groups of similar classes are shown, the first of the configuration."""


def false_positives(
    judged: Sequence[Judged],
    truths: Sequence[GroundTruth],
    class_names: Sequence[str],
    iou: float,
    groups: Sequence[Sequence[str]] = (),
) -> Section | Absent:
    """Return how each run's best detections and false positives divide into kinds.

    Args:
        judged: the runs.
        truths: of every image.
        class_names: label -> name.
        iou: the least overlap of a right detection.
        groups: of similar classes, see ``similar_groups``.

    Raises:
        ConfigError: if a group names a class that there is not.
    """
    similar = similar_classes(class_names, groups)
    shown = {ALL: tuple(class_names)}
    shown |= dict(list(similar_groups(class_names, groups).items())[:MAX_GROUPS])
    labels = {title: [class_names.index(name) for name in names] for title, names in shown.items()}
    tables = []
    for place, run in enumerate(judged):
        ranked = rank_false_positives(truths, run.detections, similar, iou=iou)
        if not any(ranked.num_objects):
            return Absent("no image here has an object to find")
        tables.append(
            {
                "name": run.name,
                "charts": _areas(ranked, labels, f"fp{place}"),
                "rows": [
                    {"name": title, "shares": _top(ranked, members).tolist()}
                    for title, members in labels.items()
                ],
            }
        )
    return {
        "tables": tables,
        "legend": [
            (name, text, FALSE_POSITIVES[name]) for name, text in FALSE_POSITIVE_TYPES.items()
        ],
        "has_similar": bool(similar.any()),
    }


def _top(ranked: RankedKinds, labels: Sequence[int]) -> Float[np.ndarray, " 5"]:
    return mean_of_classes([detection_shares(ranked, label, 1.0) for label in labels])


def _areas(ranked: RankedKinds, labels: dict[str, list[int]], salt: str) -> list[Markup]:
    """Return a chart for each group of classes that has a false positive."""
    charts = []
    for index, (title, members) in enumerate(labels.items()):
        shares = np.array(
            [
                mean_of_classes([false_positive_shares(ranked, label, m) for label in members])
                for m in MULTIPLES
            ]
        )
        if not np.isnan(shares).any():
            text = f"kinds of false positives of {title} as more are looked at"
            charts.append(svg(area_chart(title, shares), text, f"{salt}g{index}"))
    return charts


@styled
def area_chart(title: str, shares: Float[np.ndarray, "m 4"]) -> Figure:
    """Return stacked areas: how the first false positives divide, as more are looked at.

    Args:
        title: the classes.
        shares: of each multiple of ``MULTIPLES`` and kind.
    """
    figure, axes = canvas(2.1, 2.5)
    x = np.log2(MULTIPLES)
    axes.stackplot(x, shares.T, colors=[FALSE_POSITIVES[name] for name in FALSE_POSITIVE_TYPES])
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(0, 1)
    axes.set_xticks([-3, -1, 0, 1, 3], ["1/8", "1/2", "1", "2", "8"])
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100%"])
    axes.tick_params(labelsize=8)
    finish(axes, "false positives per object", "", title)
    axes.grid(visible=False)
    return figure


def sensitivities(
    judged: Sequence[Judged], truths: Sequence[GroundTruth], iou: float
) -> Section | Absent:
    """Return the normalised average precision of small, wide, truncated ... objects of each run."""
    results = [sensitivity(truths, run.detections, len(run.matches), iou=iou) for run in judged]
    first = results[0].characteristics
    if not first:
        return Absent("no class has two objects that differ in size, shape or visibility")
    charts = [
        svg(
            subset_chart(one.name, results),
            f"normalised average precision by {one.name}",
            f"sensitivity{index}",
        )
        for index, one in enumerate(first)
    ]
    rows = [
        {"name": one.name, "cells": [_cell(result.characteristics[n]) for result in results]}
        for n, one in enumerate(first)
    ]
    return {
        "charts": charts,
        "rows": rows,
        "ap": [mean_of_known(result.ap) for result in results],
        "normalised_to": results[0].normalised_to,
    }


def _cell(one: Characteristic) -> dict[str, float]:
    lowest, highest = one.lowest, one.highest
    return {"lowest": lowest, "highest": highest, "difference": highest - lowest}


@styled
def subset_chart(name: str, results: Sequence[Sensitivity]) -> Figure:
    """Return bars of one characteristic's subsets, one of each run; dashed: that of all objects.

    Args:
        name: of the characteristic, which every result has.
        results: of each run.
    """
    figure, axes = canvas(2.1, 2.5)
    of_runs = [
        next(one for one in result.characteristics if one.name == name) for result in results
    ]
    places = np.arange(len(of_runs[0].subsets))
    width = 0.8 / len(results)
    for index, (one, result) in enumerate(zip(of_runs, results, strict=True)):
        colour, shift = run_colour(index), (index - (len(results) - 1) / 2) * width
        axes.bar(places + shift, np.nan_to_num(one.mean), width * 0.92, color=colour)
        axes.axhline(mean_of_known(result.ap), color=colour, linestyle="--", linewidth=1)
    counts = of_runs[0].num_objects.sum(axis=0)
    ticks = [f"{label}\n{count}" for label, count in zip(of_runs[0].subsets, counts, strict=True)]
    axes.set_xticks(places, ticks)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.tick_params(labelsize=8)
    finish(axes, "", "", name)
    return figure
