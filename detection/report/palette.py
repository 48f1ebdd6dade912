"""Every colour that a drawing, a chart or a page uses to mean something.

Three meanings never share a colour on an image: the class of a box, what became of it (right,
wrong, missed), and what an annotation says. A second cue goes with each, for those who see few
colours: a sign or a word in the label, and the kind of line. Runs and stages have their colours in
charts, where they are filled; boxes are outlines.
"""

from __future__ import annotations

CLASSES = (
    "#179983",
    "#c800c8",
    "#c3e67e",
    "#002bff",
    "#00e6e6",
    "#006073",
    "#ff8cff",
    "#735211",
    "#59c8ff",
    "#e69b50",
    "#8e5499",
    "#009900",
    "#ff8c8c",
    "#6950e6",
    "#00e699",
    "#995460",
    "#779954",
    "#7fff4d",
    "#ff5500",
    "#ff00aa",
)
"""Of classes, then repeated. Each lies 30 or more from every colour below that judges a box, as
distances in CIE Lab go; the label beside each box names its class anyway."""

TRUTH, RIGHT, WRONG, MISSED, DIFFICULT = "#ffffff", "#1a85ff", "#d41159", "#ffc20a", "#9a9a9a"
"""Of an annotated object and of what became of it. They differ in lightness too, so that people who
do not see red or green tell them apart."""

HIGHLIGHT = "#ff6ec7"
"""Of the one box that a figure explains; viridis, the colours of its maps, has no pink."""

RUNS = ("#2a8fc9", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Of runs in charts: colours that most colour-blind people tell apart (Okabe and Ito 2008; the blue
is lighter, to show on dark pages too)."""

STAGES = {
    "decode": "#9c9c9c",
    "proposals": "#cfb53b",
    "resize": "#8fd0f2",
    "warp": "#8c564b",
    "conv": "#2a8fc9",
    "projection": "#b8e0c8",
    "pooling": "#009e73",
    "fc": "#e69f00",
    "svm": "#d55e00",
    "regression": "#a56cc1",
    "suppression": "#cc79a7",
}
"""Of what takes time, in the order of the pipeline. Another stage gets a colour of ``RUNS``."""

FALSE_POSITIVES = {"Loc": "#8fd0f2", "Sim": "#a56cc1", "Oth": "#e69f00", "BG": "#707070"}
"""Of the kinds of false positives, in the order in which they are stacked."""


def class_colour(label: int) -> str:
    """Return the colour of a class."""
    return CLASSES[label % len(CLASSES)]


def run_colour(index: int) -> str:
    """Return the colour of a run, the same in all charts."""
    return RUNS[index % len(RUNS)]


def ink_on(colour: str) -> str:
    """Return black or white, whichever is easier to read on a colour."""
    red, green, blue = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "#ffffff"
