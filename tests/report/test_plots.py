import re

import numpy as np
import pytest

from detection.report import plots
from detection.report.figures import as_svg
from tests.report.charts import charts

HOSTILE = '<script>alert("1")</script> $x^$ & \n b'


@pytest.mark.parametrize("name", list(charts()))
def test_names_are_escaped_in_svg(name):
    svg = as_svg(charts(HOSTILE)[name](), label=HOSTILE, salt="s")
    assert "<script" not in svg
    assert 'alert("1")' not in re.sub(r"<text[^>]*>[^<]*</text>", "", svg)


def test_charts_of_nothing_can_be_drawn():
    empty = np.zeros(0)
    for figure in (
        plots.line_chart([], x_label="x", y_label="y"),
        plots.precision_recall_chart("cat", [plots.Line(name="a", x=empty, y=empty)]),
        plots.stage_times({}),
        plots.histogram(empty, x_label="x", y_label="y", logarithmic=True),
        plots.count_bars([], np.zeros((0, 2), int), ["a", "b"]),
    ):
        assert as_svg(figure, label="l", salt="s")


def test_thinning_keeps_both_ends_and_short_curves():
    recall = np.linspace(0.01, 0.9, 5000)
    precision = 1 - recall
    x, y = plots.thin_out(recall, precision)
    assert len(x) <= 120
    assert (x[0], x[-1]) == (recall[0], recall[-1])
    assert (np.diff(x) > 0).all()
    assert (y == 1 - x).all()
    assert plots.thin_out(recall[:5], precision[:5])[0] is not None
    assert len(plots.thin_out(recall[:5], precision[:5])[0]) == 5


def test_stages_stand_in_the_order_of_the_pipeline_unknown_ones_last():
    order = plots.stage_order([{"odd": 1, "conv": 1, "decode": 1}, {"warp": 1, "conv": 1}])
    assert order == ["decode", "warp", "conv", "odd"]


def test_stacked_bars_are_as_long_as_their_sums():
    figure = plots.stage_times({"a": {"conv": 1.0, "fc": 0.5}, "b": {"conv": 3.0}})
    ends = {round(bar.get_y(), 3): 0.0 for bar in figure.axes[0].patches}
    for bar in figure.axes[0].patches:
        ends[round(bar.get_y(), 3)] = max(
            ends[round(bar.get_y(), 3)], bar.get_x() + bar.get_width()
        )
    assert sorted(ends.values()) == [1.5, 3.0]
