"""What can be wrong with a data set, as values: the readers stop at them, ``check`` lists them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from detection.errors import DataError
from detection.structures import Size, Skipped

Action = Literal["stop", "skip", "mend", "note"]
"""What a reader does about a problem: stop, leave the object or image out, change it in memory, or
only count it."""

Allowed = Literal["degenerate", "missing"]
"""Faults that a strict reading may be told to pass over."""

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: a few words, the same for all problems of a kind, for example ``clipped box``.
        place: the file, with line or object where that helps.
        what: expected, got, remedy.
        action: what a reader does about it.
    """

    kind: str
    place: str
    what: str
    action: Action

    @property
    def message(self) -> str:
        """The whole line: *place: expected X, got Y; remedy*."""
        return f"{self.place}: {self.what}"

    @property
    def skipped(self) -> Skipped:
        """The same as an entry of the list of what was left out."""
        file, colon, part = self.place.rpartition(": ")
        if not colon:
            return Skipped(file=part, kind=self.kind, reason=self.what)
        return Skipped(file=file, kind=self.kind, reason=f"{part}: {self.what}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How strict a reader is.

    Attributes:
        strict: for evaluation: nothing may be left out, so a degenerate box or an unreadable image
            stops the reader. Otherwise both are left out and counted.
        ignore_unknown_classes: leave out objects whose class is not asked for.
        allow_degenerate: leave out degenerate boxes in a strict reading too.
        allow_missing: keep images that cannot be read in a strict reading; they count as missed.
        max_skipped: the fraction of images that a reading that is not strict may leave out.
    """

    strict: bool = False
    ignore_unknown_classes: bool = False
    allow_degenerate: bool = False
    allow_missing: bool = False
    max_skipped: float = 0.01


def stop_at(problems: Sequence[Problem]) -> None:
    """Raise the first problem that stops a reader.

    Raises:
        DataError: if there is one.
    """
    for problem in problems:
        if problem.action == "stop":
            raise DataError(problem.message)


def nearest(name: str, names: Collection[str]) -> str:
    """Give the name most like ``name`` as the end of a message, letter case aside."""
    by_lower = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.0)
    return f"did you mean {by_lower[close[0]]!r}?" if close else "there is no class at all"


def settle_box(
    corners: Corners, size: Size, place: str, rules: Rules, *, one_based: bool
) -> tuple[Corners | None, Problem | None]:
    """Carry a box from its file to continuous pixels, clipped; None if nothing is left.

    A box whose corners coincide is degenerate even where the corners are inclusive: that is what
    annotation tools write for a click.

    Args:
        corners: as in the file, xmin ymin xmax ymax.
        size: (height, width) of the image.
        place: what to call the object.
        rules: whether a degenerate box stops the reader.
        one_based: the corners count from 1 and are inclusive (VOC) instead of continuous (COCO).
    """
    height, width = size
    xmin, ymin, xmax, ymax = corners
    got = f"got xmin={xmin:g} ymin={ymin:g} xmax={xmax:g} ymax={ymax:g}"
    if xmax <= xmin or ymax <= ymin:
        stops = rules.strict and not rules.allow_degenerate
        what = f"expected xmin < xmax <= {width} and ymin < ymax <= {height}, {got}; correct it"
        return None, Problem(
            kind="degenerate box", place=place, what=what, action="stop" if stops else "skip"
        )
    box = (xmin - one_based, ymin - one_based, xmax, ymax)
    clipped = (
        max(box[0], 0.0),
        max(box[1], 0.0),
        min(xmax, float(width)),
        min(ymax, float(height)),
    )
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        what = f"expected a box in the image of {width} x {height}, {got}; correct or remove it"
        return None, Problem(kind="box outside the image", place=place, what=what, action="skip")
    if clipped == box:
        return box, None
    if one_based and -1 in box and clipped[2:] == box[2:]:
        what = f"expected corners that count from 1, {got}; clipped to the image"
        return clipped, Problem(kind="corner at 0", place=place, what=what, action="mend")
    what = f"expected a box in the image of {width} x {height}, {got}; clipped to it"
    return clipped, Problem(kind="clipped box", place=place, what=what, action="mend")
