"""The section on probabilities: do they hold, and which threshold is best?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from detection.report import plots
from detection.report.loading import Run
from detection.report.parts import Absent, Section, svg

_AGAIN = "detection evaluate"
_SHAPE = ("ece", "ece_likely", "threshold", "raw", "bins", "curve")


def reliability(runs: Sequence[Run]) -> Section | Absent:
    """Return the reliability diagram, the F1 curve and the numbers of the calibrated runs."""
    known = [(run.name, (run.metrics or {}).get("calibration")) for run in runs]
    found = [(name, values) for name, values in known if isinstance(values, dict)]
    if not found:
        return Absent("no run here has a calibrated detector that was evaluated", "")
    for name, values in found:
        if not set(_SHAPE) <= set(values):
            return Absent(f"the calibration in the metrics.json of {name} lacks a part", _AGAIN)
    charts = [
        svg(_diagram(found), "fraction of right detections against their probability", "rel"),
        svg(_f1_curve(found), "F1 against the lowest probability kept", "f1"),
    ]
    return {"charts": charts, "rows": [_row(name, values) for name, values in found]}


def _diagram(found: Sequence[tuple[str, Mapping[str, Any]]]) -> Figure:
    lines = [
        plots.Line(
            name=name,
            x=[one["probability"] for one in values["bins"]],
            y=[one["right"] for one in values["bins"]],
        )
        for name, values in found
    ]
    diagonal = plots.Line(name="as it should be", x=(0.0, 1.0), y=(0.0, 1.0))
    return plots.line_chart([*lines, diagonal], x_label="probability", y_label="of these are right")


def _f1_curve(found: Sequence[tuple[str, Mapping[str, Any]]]) -> Figure:
    lines = [
        plots.Line(name=name, x=values["curve"]["threshold"], y=values["curve"]["f1"])
        for name, values in found
    ]
    return plots.line_chart(lines, x_label="lowest probability kept", y_label="F1")


def _row(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of the table; the numbers at the detector's threshold, and the best F1."""
    curve = {key: np.asarray(column, dtype=float) for key, column in values["curve"].items()}
    at = {
        key: float(np.interp(values["threshold"], curve["threshold"], curve[key]))
        for key in ("precision", "recall", "f1")
    }
    return {
        "name": name,
        "threshold": values["threshold"],
        **at,
        "best": float(curve["f1"].max()),
        "ece": values["ece"],
        "ece_likely": values["ece_likely"],
        "raw": values["raw"]["ece"],
        "raw_likely": values["raw"]["ece_likely"],
    }
