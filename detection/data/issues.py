"""The issues of a data set, as values: readers stop at them, ``check`` lists them."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from detection.errors import DataError
from detection.values import Size, Skipped

Action = Literal["stop", "skip", "mend", "note"]
"""What a reader does about a problem: stop, leave the object or image out, change it in memory, or
only count it."""

Allowed = Literal["degenerate", "missing"]
"""Faults that a strict reading may be told to pass over."""

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationIssue:
    """One issue of a data set.

    Attributes:
        kind: a few words, the same for all problems of a kind, for example ``clipped box``.
        location: the file, with line or object where that helps.
        what: expected, got, remedy.
        action: what a reader does about it.
    """

    kind: str
    location: str
    what: str
    action: Action

    @property
    def message(self) -> str:
        """The whole line: *location: expected X, got Y; remedy*."""
        return f"{self.location}: {self.what}"

    @property
    def skipped(self) -> Skipped:
        """The same as an entry of the list of what was left out."""
        file, colon, part = self.location.rpartition(": ")
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

    @classmethod
    def of(
        cls,
        *,
        strict: bool,
        ignore_unknown_classes: bool,
        allow: Collection[Allowed],
        max_skipped: float,
    ) -> Rules:
        """Return the rules with those faults allowed."""
        return cls(
            strict=strict,
            ignore_unknown_classes=ignore_unknown_classes,
            allow_degenerate="degenerate" in allow,
            allow_missing="missing" in allow,
            max_skipped=max_skipped,
        )


def stop_at(issues: Sequence[AnnotationIssue]) -> None:
    """Raise the first issue that stops a reader.

    Raises:
        DataError: if there is one.
    """
    for issue in issues:
        if issue.action == "stop":
            raise DataError(issue.message)


def composed(name: str) -> str:
    """Return a name in its composed Unicode form (NFC): the same letters are then the same name.

    macOS writes ``ä`` as two characters, other systems as one.
    """
    return unicodedata.normalize("NFC", name)


def nearest(name: str, names: Collection[str]) -> str:
    """Return a hint for a message: the known name closest to ``name``, ignoring case."""
    by_lower = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.0)
    return f"did you mean {by_lower[close[0]]!r}?" if close else "there is no class at all"


def is_fraction(corners: Corners, size: Size) -> bool:
    """Return whether a box has an area below a pixel and lies in the first pixel of an image."""
    xmin, ymin, xmax, ymax = corners
    inside = min(xmin, ymin) >= 0 and max(xmax, ymax) <= 1 < min(size)
    return inside and xmin < xmax and ymin < ymax and (xmax - xmin < 1 or ymax - ymin < 1)


def settle_box(
    corners: Corners, size: Size, location: str, rules: Rules, *, one_based: bool
) -> tuple[Corners | None, AnnotationIssue | None]:
    """Convert a box from its file to continuous pixels, clipped; None if nothing is left.

    A box whose corners coincide is degenerate even where the corners are inclusive: that is what
    annotation tools write for a click.

    Args:
        corners: as in the file, xmin ymin xmax ymax.
        size: (height, width) of the image.
        location: what to call the object.
        rules: whether a degenerate box stops the reader.
        one_based: the corners count from 1 and are inclusive (VOC) instead of continuous (COCO).
    """
    height, width = size
    xmin, ymin, xmax, ymax = corners
    if is_fraction(corners, size):
        got = f"{xmin:g} {ymin:g} {xmax:g} {ymax:g}"
        what = (
            f"expected corners in pixels of an image of {width} x {height}, got {got}: a box below "
            "one pixel; fractions of the image? multiply them by its sides"
        )
        return None, AnnotationIssue(
            kind="box below a pixel",
            location=location,
            what=what,
            action="stop" if rules.strict and not rules.allow_degenerate else "skip",
        )
    got = f"got xmin={xmin:g} ymin={ymin:g} xmax={xmax:g} ymax={ymax:g}"
    if xmax <= xmin or ymax <= ymin:
        stops = rules.strict and not rules.allow_degenerate
        what = f"expected xmin < xmax <= {width} and ymin < ymax <= {height}, {got}; correct it"
        return None, AnnotationIssue(
            kind="degenerate box", location=location, what=what, action="stop" if stops else "skip"
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
        return None, AnnotationIssue(
            kind="box outside the image", location=location, what=what, action="skip"
        )
    if clipped == box:
        return box, None
    if one_based and -1 in box and clipped[2:] == box[2:]:
        what = f"expected corners that count from 1, {got}; clipped to the image"
        return clipped, AnnotationIssue(
            kind="corner at 0", location=location, what=what, action="mend"
        )
    what = f"expected a box in the image of {width} x {height}, {got}; clipped to it"
    return clipped, AnnotationIssue(kind="clipped box", location=location, what=what, action="mend")
