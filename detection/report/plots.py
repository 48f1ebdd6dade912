"""Charts, as matplotlib figures that show on light and dark pages alike.

Every figure is about 460 pixels wide, so that it stays legible on a phone; a report lays several
side by side where there is room.
"""

from __future__ import annotations

import contextlib
import functools
import html
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
from jaxtyping import Float, Int
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from detection.runs.files import write_bytes_atomic

SERIES = ("#2a8fc9", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Colours that most colour-blind people tell apart (Okabe and Ito 2008; the blue is lighter, to
show on dark pages too)."""

STAGE_COLOURS = {
    "decode": "#9c9c9c",
    "proposals": "#cfb53b",
    "resize": "#8fd0f2",
    "warp": "#8fd0f2",
    "conv": "#2a8fc9",
    "projection": "#b8e0c8",
    "pooling": "#009e73",
    "fc": "#e69f00",
    "svm": "#d55e00",
    "regression": "#a56cc1",
    "suppression": "#cc79a7",
}
"""In the order of the pipeline. A stage of another name gets a colour of ``SERIES``."""

_INK = "#010203"
_WIDTH = 4.8
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "text.parse_math": False,
}


P = ParamSpec("P")


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a chart be made with this module's style, whatever matplotlib's is."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One named curve."""

    name: str
    x: Sequence[float] | Float[np.ndarray, " n"]
    y: Sequence[float] | Float[np.ndarray, " n"]


@_styled
def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    height: float = 3.0,
    width: float = _WIDTH,
    logarithmic: bool = False,
) -> Figure:
    """Give a chart of curves whose y values are fractions, from 0 to 1."""
    figure, axes = _canvas(height, width)
    for index, line in enumerate(lines):
        axes.plot(
            np.asarray(line.x),
            np.asarray(line.y),
            color=SERIES[index % len(SERIES)],
            linestyle=("-", "--", ":", "-.")[index % 4],
            label=line.name,
        )
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if logarithmic:
        _logarithmic(axes)
    _finish(axes, x_label, y_label, title)
    if lines:
        axes.legend(loc="best", fontsize=9)
    return figure


@_styled
def precision_recall_chart(title: str, lines: Sequence[Line]) -> Figure:
    """Give a small chart of one class: precision (y) against recall (x), both as percentages."""
    figure, axes = _canvas(1.75, 2.2)
    for index, line in enumerate(lines):
        recall, precision = thin_out(np.asarray(line.x), np.asarray(line.y))
        style = ("-", "--", ":", "-.")[index % 4]
        axes.plot(recall, precision, color=SERIES[index % len(SERIES)], linestyle=style, lw=1.6)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.05)
    axes.set_xticks([0, 0.5, 1], ["0", "50", "100%"])
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100%"])
    axes.tick_params(labelsize=8, length=2)
    _finish(axes, "", "", title)
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


@_styled
def class_bars(
    class_names: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    *,
    x_label: str = "AP",
    title: str = "",
) -> Figure:
    """Give horizontal bars, one group a class and one bar a series, as percentages."""
    count = max(len(series), 1)
    figure, axes = _canvas(0.6 + len(class_names) * (0.1 + 0.13 * count), _WIDTH)
    thickness = 0.8 / count
    rows = np.arange(len(class_names))
    for index, (name, values) in enumerate(series.items()):
        known = [value or 0.0 for value in values]
        colour = SERIES[index % len(SERIES)]
        axes.barh(rows + index * thickness, known, thickness * 0.9, color=colour, label=name)
    labels = [" ".join(name.split())[:18] for name in class_names]
    axes.set_yticks(rows + 0.4 - thickness / 2, labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _finish(axes, x_label, "", title, grid="x")
    if len(series) > 1:
        axes.legend(loc="lower right", fontsize=9)
    return figure


@_styled
def stage_times(
    stages: Mapping[str, Mapping[str, float]], *, title: str = "", unit_scale: float = 0.0
) -> Figure:
    """Give stacked horizontal bars of seconds an image, one bar a method.

    Args:
        stages: method -> stage -> seconds.
        title: of the chart.
        unit_scale: the x axis ends here; 0 for the longest bar.
    """
    figure, axes = _canvas(0.75 + 0.52 * len(stages), _WIDTH)
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
        axes.text(0, row - 0.29, f"{name}: {total:.3g} s", ha="left", va="bottom", fontsize=10)
    axes.set_ylim(len(stages) - 0.6, -0.75)
    axes.set_yticks([])
    axes.set_xlim(0, end)
    axes.spines["left"].set_visible(False)
    _finish(axes, "seconds an image", "", title, grid="x")
    return figure


def stage_order(times: Iterable[Mapping[str, float]]) -> list[str]:
    """Give the names of all stages in the order of the pipeline, unknown ones last."""
    known = list(STAGE_COLOURS)
    names = dict.fromkeys(stage for row in times for stage in row)
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))


def stage_colours(names: Sequence[str]) -> list[str]:
    """Give each stage its colour; a known stage has the same in every chart."""
    return [
        STAGE_COLOURS.get(name, SERIES[(index + 3) % len(SERIES)])
        for index, name in enumerate(names)
    ]


@_styled
def histogram(
    values: Float[np.ndarray, " n"],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    logarithmic: bool = False,
    whole: bool = False,
) -> Figure:
    """Give how often values occur.

    Args:
        values: what to count.
        x_label: what they are.
        y_label: what is counted.
        title: of the chart.
        logarithmic: on a logarithmic axis; values that are not positive are left out.
        whole: they are whole numbers, one bar each.
    """
    figure, axes = _canvas(2.4, _WIDTH)
    values = values[np.isfinite(values) & ((values > 0) | (not logarithmic))]
    if len(values):
        edges = np.histogram_bin_edges(np.log10(values) if logarithmic else values, 24)
        if whole:
            edges = np.arange(values.min(), values.max() + 2) - 0.5
        edges = 10**edges if logarithmic else edges
        axes.hist(values, edges.tolist(), color=SERIES[0], rwidth=0.94)
    if len(values) and logarithmic:
        _logarithmic(axes)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _finish(axes, x_label, y_label, title)
    return figure


@_styled
def count_bars(
    names: Sequence[str], counts: Int[np.ndarray, "n s"], series: Sequence[str]
) -> Figure:
    """Give stacked horizontal bars of counts, one bar a name.

    Args:
        names: of the bars.
        counts: of each name and series.
        series: what the numbers count.
    """
    figure, axes = _canvas(0.8 + 0.24 * max(len(names), 1), 1.4 * _WIDTH)
    rows = np.arange(len(names))
    start = np.zeros(len(names))
    for index, name in enumerate(series):
        colour = SERIES[index % len(SERIES)]
        axes.barh(rows, counts[:, index], left=start, height=0.72, color=colour, label=name)
        start += counts[:, index]
    for row, total in enumerate(start):
        axes.text(total, row, f" {int(total):,}", va="center", ha="left", fontsize=9)
    axes.set_yticks(rows, [" ".join(name.split())[:18] for name in names])
    axes.set_xlim(0, max(float(start.max(initial=0)) * 1.1, 1))
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _finish(axes, "objects", "", "", grid="x")
    if len(series) > 1:
        axes.legend(loc="lower right", fontsize=9)
    return figure


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def _canvas(height: float, width: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _finish(axes: Axes, x_label: str, y_label: str, title: str, grid: str = "y") -> None:
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.set_axisbelow(True)
    axes.grid(True, axis="x" if grid == "x" else "y", color="#808080", alpha=0.25, linewidth=0.7)
    axes.tick_params(length=3)
    if title:
        axes.set_title(" ".join(title.split())[:60], loc="left", color=_INK)


def as_svg(figure: Figure, *, label: str, salt: str) -> str:
    """Give a figure as an SVG element whose ink follows the page's text colour.

    Args:
        figure: to draw.
        label: read aloud in its place.
        salt: keeps its inner names apart from those of other figures on the page.
    """
    buffer = io.StringIO()
    with rc_context({**_STYLE, "svg.hashsalt": salt}), _any_script():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for unwanted in ("metadata", "style"):
        svg = re.sub(rf"<{unwanted}.*?</{unwanted}>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href").replace(_INK, "currentColor")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    head = f'<svg role="img" aria-label="{html.escape(label)}" style="width:{{}}pt" viewBox'
    return re.sub(
        r'<svg width="([\d.]+)pt" height="[\d.]+pt" viewBox',
        lambda match: head.format(match[1]),
        svg,
        count=1,
    ).strip()


@contextlib.contextmanager
def _any_script() -> Iterator[None]:
    """Say nothing of letters that matplotlib's font lacks: a browser has others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def write_figure(path: Path, figure: Figure, *, dpi: int = 200) -> None:
    """Write a figure as PNG on white, whole or not at all.

    Raises:
        DataError: if the file cannot be written.
    """
    buffer = io.BytesIO()
    with rc_context(_STYLE), _any_script():
        figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    write_bytes_atomic(path, buffer.getvalue())
