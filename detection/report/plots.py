"""Charts, as matplotlib figures that show on light and dark pages alike.

Every figure is about 460 pixels wide, so that it stays legible on a phone; a report lays several
side by side where there is room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from detection.report.figures import WIDTH, canvas, finish, logarithmic_x, styled
from detection.report.palette import RUNS, STAGES, run_colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One named curve."""

    name: str
    x: Sequence[float] | Float[np.ndarray, " n"]
    y: Sequence[float] | Float[np.ndarray, " n"]


@styled
def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    height: float = 3.0,
    width: float = WIDTH,
    logarithmic: bool = False,
) -> Figure:
    """Return a chart of curves whose y values are fractions from 0 to 1."""
    figure, axes = canvas(height, width)
    for index, line in enumerate(lines):
        axes.plot(
            np.asarray(line.x),
            np.asarray(line.y),
            color=run_colour(index),
            linestyle=("-", "--", ":", "-.")[index % 4],
            label=line.name,
        )
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if logarithmic:
        logarithmic_x(axes)
    finish(axes, x_label, y_label, title)
    if lines:
        axes.legend(loc="best", fontsize=9)
    return figure


@styled
def precision_recall_chart(title: str, lines: Sequence[Line]) -> Figure:
    """Return a small chart of one class: precision (y) against recall (x), both as percentages."""
    figure, axes = canvas(1.75, 2.2)
    for index, line in enumerate(lines):
        recall, precision = thin_out(np.asarray(line.x), np.asarray(line.y))
        style = ("-", "--", ":", "-.")[index % 4]
        axes.plot(recall, precision, color=run_colour(index), linestyle=style, lw=1.6)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.05)
    axes.set_xticks([0, 0.5, 1], ["0", "50", "100%"])
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100%"])
    axes.tick_params(labelsize=8, length=2)
    finish(axes, "", "", title)
    return figure


def thin_out(
    recall: Float[np.ndarray, " n"], precision: Float[np.ndarray, " n"], limit: int = 120
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Leave out points that a small chart cannot show; the first and the last stay."""
    if len(recall) <= limit:
        return recall, precision
    rows = np.unique(
        np.concatenate(
            [
                np.linspace(0, len(recall) - 1, limit // 2).round().astype(int),
                np.searchsorted(recall, np.linspace(0, recall[-1], limit // 2)),
            ]
        )
    )
    return recall[rows], precision[rows]


@styled
def stage_times(
    stages: Mapping[str, Mapping[str, float]], *, title: str = "", unit_scale: float = 0.0
) -> Figure:
    """Return stacked horizontal bars of seconds per image, one bar per method.

    Args:
        stages: method -> stage -> seconds.
        title: of the chart.
        unit_scale: the x axis ends here; 0 for the longest bar.
    """
    figure, axes = canvas(0.75 + 0.52 * len(stages), WIDTH)
    longest = max([sum(times.values()) for times in stages.values()], default=0.0)
    end = unit_scale or longest * 1.02 or 1.0
    names = stage_order(stages.values())
    colours = dict(zip(names, stage_colours(names), strict=True))
    for row, times in enumerate(stages.values()):
        start = 0.0
        for stage in names:
            seconds = times.get(stage, 0.0)
            axes.barh(row, seconds, left=start, height=0.42, color=colours[stage])
            start += seconds
    for row, (name, times) in enumerate(stages.items()):
        total = sum(times.values())
        shown = f"{total:.3g} s" if total >= 1 else f"{1000 * total:.3g} ms"
        axes.text(0, row - 0.29, f"{name}: {shown}", ha="left", va="bottom", fontsize=10)
    axes.set_ylim(len(stages) - 0.6, -0.75)
    axes.set_yticks([])
    axes.set_xlim(0, end)
    axes.spines["left"].set_visible(False)
    finish(axes, "seconds per image", "", title, grid="x")
    return figure


def stage_order(times: Iterable[Mapping[str, float]]) -> list[str]:
    """Return the names of all stages in pipeline order, unknown ones last."""
    known = list(STAGES)
    names = dict.fromkeys(stage for row in times for stage in row)
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))


def stage_colours(names: Sequence[str]) -> list[str]:
    """Return a colour per stage; a known stage has the same one in every chart."""
    return [STAGES.get(name, run_colour(index + 3)) for index, name in enumerate(names)]


@styled
def histogram(
    values: Float[np.ndarray, " n"],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    logarithmic: bool = False,
    whole: bool = False,
) -> Figure:
    """Return a histogram of values.

    Args:
        values: what to count.
        x_label: what they are.
        y_label: what is counted.
        title: of the chart.
        logarithmic: on a logarithmic axis; values that are not positive are left out.
        whole: they are whole numbers, one bar each.
    """
    figure, axes = canvas(2.4, WIDTH)
    values = values[np.isfinite(values) & ((values > 0) | (not logarithmic))]
    if len(values):
        edges = np.histogram_bin_edges(np.log10(values) if logarithmic else values, 24)
        if whole:
            edges = np.arange(values.min(), values.max() + 2) - 0.5
        edges = 10**edges if logarithmic else edges
        axes.hist(values, edges.tolist(), color=RUNS[0], rwidth=0.94)
    if len(values) and logarithmic:
        logarithmic_x(axes)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    finish(axes, x_label, y_label, title)
    return figure


@styled
def count_bars(
    names: Sequence[str], counts: Int[np.ndarray, "n s"], series: Sequence[str]
) -> Figure:
    """Return stacked horizontal bars of counts, one bar per name.

    Args:
        names: of the bars.
        counts: of each name and series.
        series: what the numbers count.
    """
    figure, axes = canvas(0.8 + 0.24 * max(len(names), 1), 1.4 * WIDTH)
    rows = np.arange(len(names))
    start = np.zeros(len(names))
    for index, name in enumerate(series):
        colour = run_colour(index)
        axes.barh(rows, counts[:, index], left=start, height=0.72, color=colour, label=name)
        start += counts[:, index]
    for row, total in enumerate(start):
        axes.text(total, row, f" {int(total):,}", va="center", ha="left", fontsize=9)
    axes.set_yticks(rows, [" ".join(name.split())[:18] for name in names])
    axes.set_xlim(0, max(float(start.max(initial=0)) * 1.1, 1))
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    finish(axes, "objects", "", "", grid="x")
    if len(series) > 1:
        axes.legend(loc="lower right", fontsize=9)
    return figure
