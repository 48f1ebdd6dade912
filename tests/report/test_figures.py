import re

import numpy as np
import pytest

from detection.report import plots
from detection.report.figures import as_svg


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


@pytest.mark.parametrize("name", list(charts()))
def test_svg_stands_alone_and_follows_the_pages_ink(name):
    svg = as_svg(charts()[name](), label=name, salt="s")
    assert svg.startswith('<svg role="img" aria-label="')
    assert svg.endswith("</svg>")
    assert "http" not in svg
    assert "xmlns" not in svg
    assert "currentColor" in svg
    assert "#000000" not in svg


def test_svg_is_the_same_every_time_and_ids_differ_by_salt():
    first, again = (as_svg(charts()["line"](), label="l", salt="a") for _ in range(2))
    other = as_svg(charts()["line"](), label="l", salt="b")
    assert first == again
    clips = [set(re.findall(r'<clipPath id="([^"]+)"', svg)) for svg in (first, other)]
    assert clips[0]
    assert not clips[0] & clips[1]
