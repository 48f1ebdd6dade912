"""How every chart looks, and how it gets onto a page or into a file.

A chart's ink becomes ``currentColor`` in SVG, so that it shows on light and dark pages alike.
"""

from __future__ import annotations

import contextlib
import functools
import html
import io
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

_INK = "#010203"
WIDTH = 4.8
"""Of a chart, in inches: it stays legible on a phone."""
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


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a chart be made with this module's style, whatever matplotlib's is."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


def logarithmic_x(axes: Axes) -> None:
    """Make the x axis logarithmic, with marks at 1, 2 and 5 times the powers of ten."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def canvas(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """Return an empty figure of a size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def finish(axes: Axes, x_label: str, y_label: str, title: str, grid: str = "y") -> None:
    """Write the labels and the title, and draw the grid across one axis."""
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.set_axisbelow(True)
    axes.grid(True, axis="x" if grid == "x" else "y", color="#808080", alpha=0.25, linewidth=0.7)
    axes.tick_params(length=3)
    if title:
        axes.set_title(" ".join(title.split())[:60], loc="left", color=_INK)


def as_svg(figure: Figure, *, label: str, salt: str) -> str:
    """Return a figure as an SVG element whose ink follows the page's text colour.

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
