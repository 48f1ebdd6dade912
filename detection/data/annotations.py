"""Every image of a split as far as it could be read, and the data set made of them.

The readers of VOC folders and of COCO files meet here: one set of rules for both.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from detection.data.images import read_header
from detection.data.issues import (
    Action,
    AnnotationIssue,
    Corners,
    Rules,
    nearest,
    settle_box,
    stop_at,
)
from detection.errors import DataError, ImageError
from detection.structures import Dataset, GroundTruth, Record, Size

_LOG = logging.getLogger(__name__)

UNREADABLE = "unreadable image"
"""The kind of problem that leaves out a whole image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """An object as stated in its file; ``location`` names it in messages."""

    location: str
    class_name: str
    corners: Corners
    difficult: bool
    crowd: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedObject:
    """An object whose box lies in its image (continuous pixels); ``location`` names it."""

    location: str
    class_name: str
    box: Corners
    difficult: bool
    crowd: bool = False


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
        size, stored, turned = read_header(path)
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
            what = f"expected a known class, got {item.class_name[:60]!r}; {hint}"
            action: Action = "skip" if rules.ignore_unknown_classes else "stop"
            issues.append(
                AnnotationIssue(
                    kind="unknown class", location=item.location, what=what, action=action
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


def assemble(
    name: str,
    split: str,
    examined: Sequence[CheckedImage],
    issues: Sequence[AnnotationIssue],
    class_names: tuple[str, ...],
    rules: Rules,
) -> Dataset:
    """Build the data set from what was read, and log what was left out or corrected.

    Args:
        name: of the data set.
        split: of it.
        examined: every image.
        issues: those of the split itself; those of the images come on top.
        class_names: label order; empty takes the names of the objects, sorted.
        rules: how many images may be left out.

    Raises:
        DataError: if too many images were left out, or nothing names a class.
    """
    issues = [*issues, *(issue for item in examined for issue in item.issues)]
    class_names = class_names or _annotated_classes(name, examined)
    kept = [item for item in examined if item.size is not None]
    _check_skipped(name, len(examined) - len(kept), len(examined), issues, rules)
    notes = dict(Counter(issue.kind for issue in issues))
    _say(name, issues, notes, sum(len(item.objects) for item in kept))
    labels = {class_name: label for label, class_name in enumerate(class_names)}
    records = tuple(_record(item, labels) for item in kept)
    left_out = tuple(p.skipped for p in issues if p.action == "skip" or p.kind == UNREADABLE)
    return Dataset(
        name=name,
        split=split,
        class_names=class_names,
        records=records,
        notes=notes,
        skipped=left_out,
    )


def _annotated_classes(name: str, examined: Sequence[CheckedImage]) -> tuple[str, ...]:
    """Return the classes of all objects, sorted: labels do not depend on the order of the files."""
    class_names = tuple(sorted({o.class_name for item in examined for o in item.objects}))
    if not class_names:
        message = f"{name}: expected at least one object, got none; set data.class_names"
        raise DataError(message)
    return class_names


def _check_skipped(
    name: str, skipped: int, total: int, issues: Sequence[AnnotationIssue], rules: Rules
) -> None:
    """Raise DataError if so many images are unreadable that the folder itself is suspect."""
    if skipped <= rules.max_skipped * total:
        return
    first = next(issue for issue in issues if issue.kind == UNREADABLE)
    message = (
        f"{name}: expected at most {rules.max_skipped:.1%} unreadable images, got {skipped} of "
        f"{total} (the first: {first.message}); repair them or raise data.max_skipped"
    )
    raise DataError(message)


def _say(
    name: str, issues: Sequence[AnnotationIssue], notes: dict[str, int], num_objects: int
) -> None:
    firsts: dict[str, AnnotationIssue] = {}
    for issue in issues:
        firsts.setdefault(issue.kind, issue)
    for kind, count in notes.items():
        level = logging.INFO if firsts[kind].action == "note" else logging.WARNING
        _LOG.log(level, "%s: %s: %d (the first: %s)", name, kind, count, firsts[kind].message)
    # A few boxes at 0 are slips of an annotator; many mean that the whole file counts from 0, and
    # that every box has been shifted by a pixel.
    if notes.get("corner at 0", 0) > 0.01 * num_objects:
        _LOG.warning(
            "%s: %d of %d boxes have a corner at 0: the file looks 0-based, VOC counts from 1",
            name,
            notes["corner at 0"],
            num_objects,
        )


def _record(item: CheckedImage, labels: dict[str, int]) -> Record:
    crowd = torch.tensor([o.crowd for o in item.objects], dtype=torch.bool)
    truth = GroundTruth(
        image_id=item.image_id,
        size=item.size or (1, 1),
        boxes=torch.tensor([o.box for o in item.objects], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([labels[o.class_name] for o in item.objects], dtype=torch.int64),
        difficult=torch.tensor([o.difficult for o in item.objects], dtype=torch.bool),
        crowd=crowd if crowd.any() else None,
    )
    return Record(image_id=item.image_id, path=item.path, truth=truth)
