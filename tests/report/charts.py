"""One chart of each kind."""

import numpy as np

from detection.report import plots


def charts(name="cat"):
    line = plots.Line(name=name, x=np.linspace(0, 1, 300), y=np.linspace(1, 0, 300))
    times = {name: {"conv": 1.0, "stranger": 0.5}, "other": {"fc": 0.2}}
    return {
        "line": lambda: plots.line_chart([line], x_label=name, y_label=name, title=name),
        "log": lambda: plots.line_chart([line], x_label="x", y_label="y", logarithmic=True),
        "curve": lambda: plots.precision_recall_chart(name, [line]),
        "stages": lambda: plots.stage_times(times, title=name),
        "histogram": lambda: plots.histogram(
            np.arange(9.0), x_label=name, y_label="n", logarithmic=True
        ),
        "whole": lambda: plots.histogram(np.arange(9.0), x_label="x", y_label="n", whole=True),
        "counts": lambda: plots.count_bars([name], np.array([[1, 2]]), ["a", name]),
    }
