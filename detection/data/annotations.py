"""Every image of a split as far as it could be read.

The readers of all formats meet here: one set of rules for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from detection.data.image_files import known_header
from detection.data.issues import (
    Action,
    AnnotationIssue,
    Corners,
    Rules,
    nearest,
    settle_box,
    stop_at,
)
from detection.errors import DataError, ImageError, is_line
from detection.values import Size

UNREADABLE = "unreadable image"
"""The kind of problem that leaves out a whole image."""

TWICE = "image in two places"
"""The kind of problem of an image that a second root or list holds too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """An object as stated in its file; ``location`` names it in messages.

    ``truncated`` and ``occluded`` are None where the file does not say.
    """

    location: str
    class_name: str
    corners: Corners
    difficult: bool
    crowd: bool = False
    truncated: bool | None = None
    occluded: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedObject:
    """An object whose box lies in its image (continuous pixels); ``location`` names it."""

    location: str
    class_name: str
    box: Corners
    difficult: bool
    crowd: bool = False
    truncated: bool | None = None
    occluded: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedImage:
    """One image of a split, as far as it could be read.

    Attributes:
        image_id: as listed.
        path: the image's file.
        size: (height, width), None if unknown.
        objects: those that a reader keeps, of any class.
        issues: everything that is wrong.
    """

    image_id: str
    path: Path
    size: Size | None
    objects: tuple[CheckedObject, ...]
    issues: tuple[AnnotationIssue, ...]


def issue_of(kind: str, location: str, error: DataError, action: Action) -> AnnotationIssue:
    """Return an error as an annotation issue."""
    return AnnotationIssue(
        kind=kind, location=location, what=str(error).removeprefix(f"{location}: "), action=action
    )


def settle_size(
    path: Path, stated: Size | None, location: str, rules: Rules, issues: list[AnnotationIssue]
) -> Size | None:
    """Return the image's size; a different size in the annotation is an issue."""
    try:
        size, stored, turned = known_header(path)
    except ImageError as error:
        if not rules.strict:
            issues.append(issue_of(UNREADABLE, str(path), error, "skip"))
            return None
        action: Action = "note" if rules.allow_missing else "stop"
        issues.append(issue_of(UNREADABLE, str(path), error, action))
        return stated or (1, 1)
    if turned:
        what = (
            "expected pixels stored upright, got ones that EXIF turns or mirrors: the boxes must "
            "have been drawn on the image as it is shown"
        )
        issues.append(
            AnnotationIssue(kind="turned by EXIF", location=str(path), what=what, action="note")
        )
    if stated is not None and stated != size:
        hint = "correct the annotation"
        if stated in {stored, size[::-1]}:
            hint = "was it annotated without the EXIF rotation, or are width and height swapped?"
        what = (
            f"expected the image's width {size[1]} and height {size[0]}, got {stated[1]} and "
            f"{stated[0]}; {hint}"
        )
        issues.append(
            AnnotationIssue(kind="other size", location=location, what=what, action="stop")
        )
    return size


def examine_objects(
    parsed: Iterable[FoundObject],
    size: Size,
    rules: Rules,
    known: frozenset[str],
    *,
    one_based: bool,
) -> tuple[tuple[CheckedObject, ...], list[AnnotationIssue]]:
    """Return the objects that a reader keeps, and the issues of the others.

    Args:
        parsed: the objects of one image, as in its file.
        size: (height, width) of the image.
        rules: what stops a reader.
        known: the class names; empty takes every name.
        one_based: see ``settle_box``.
    """
    kept: list[CheckedObject] = []
    issues: list[AnnotationIssue] = []
    for item in parsed:
        if known and item.class_name not in known:
            hint = nearest(item.class_name, known)
            if not rules.ignore_unknown_classes:
                hint += " data.ignore_unknown_classes leaves it out"
            what = f"expected a known class, got {item.class_name[:60]!r}; {hint}"
            action: Action = "skip" if rules.ignore_unknown_classes else "stop"
            issues.append(
                AnnotationIssue(
                    kind="unknown class", location=item.location, what=what, action=action
                )
            )
            continue
        if not is_line(item.class_name):
            what = f"expected a name in one line, got {item.class_name[:60]!r}; correct it"
            issues.append(
                AnnotationIssue(
                    kind="odd class name", location=item.location, what=what, action="stop"
                )
            )
            continue
        box, issue = settle_box(item.corners, size, item.location, rules, one_based=one_based)
        if issue is not None:
            issues.append(issue)
        if box is not None:
            kept.append(
                CheckedObject(
                    location=item.location,
                    class_name=item.class_name,
                    box=box,
                    difficult=item.difficult,
                    crowd=item.crowd,
                    truncated=item.truncated,
                    occluded=item.occluded,
                )
            )
    return tuple(kept), issues


def read_all(items: Iterable[CheckedImage]) -> list[CheckedImage]:
    """Return all images.

    Raises:
        DataError: at the first issue that stops a reader.
    """
    examined = []
    for item in items:
        stop_at(item.issues)
        examined.append(item)
    return examined
