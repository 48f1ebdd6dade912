"""The lines of a YOLO label file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detection.data.annotations import FoundObject
from detection.data.issues import AnnotationIssue, Corners
from detection.data.label_tables import fault, note
from detection.errors import DataError
from detection.values import Size

_LARGEST = 1.01
"""A larger fraction is none; a little beyond 1 is what rounding and careless drawing leave."""

_ROUNDING = 1e-4
"""Corners so little outside the image are taken for its border: files hold four decimals or more,
and the centre and the size are rounded each."""

_REMARKS = {
    "confidence column": "expected class cx cy w h, got a sixth column; it is not used",
    "polygon": "expected class cx cy w h, got a polygon; its bounding box is read",
    "keypoints": "expected class cx cy w h, got keypoints too; they are not used",
}
"""What is counted of a line that is read nevertheless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    """A line: the class index, the corners as fractions, and what is to be counted of it."""

    index: int
    corners: Corners
    remark: str


def parse_labels(
    text: str, file: str, names: Mapping[int, str], size: Size | None, *, keypoints: bool = False
) -> tuple[list[FoundObject], list[AnnotationIssue]]:
    """Return the objects of a label file, in continuous pixels, and what is wrong with its lines.

    Args:
        text: of the file, one object a line: ``class cx cy w h``, ``class cx cy w h confidence`` or
            ``class x1 y1 x2 y2 x3 y3 ...``, all but the class as fractions of the image.
        file: what to call the file.
        names: class index -> name.
        size: (height, width) of the image; None drops the objects, which then have no pixels.
        keypoints: the columns after the box are keypoints instead of a polygon's.
    """
    objects: list[FoundObject] = []
    issues: list[AnnotationIssue] = []
    seen: set[tuple[int, Corners]] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        location = f"{file}: line {number}"
        try:
            label = _parse_line(line, names, keypoints=keypoints)
        except DataError as error:
            issues.append(fault("bad label", location, str(error)))
            continue
        if label.remark:
            issues.append(note(label.remark, location, _REMARKS[label.remark]))
        if (label.index, label.corners) in seen:
            what = "expected each object once, got the same line again; counted once"
            issues.append(note("duplicate line", location, what))
            continue
        seen.add((label.index, label.corners))
        if size is not None:
            objects.append(_to_object(label, location, names, size))
    return objects, issues


def _to_object(label: _Label, location: str, names: Mapping[int, str], size: Size) -> FoundObject:
    height, width = size
    xmin, ymin, xmax, ymax = map(_snapped, label.corners)
    return FoundObject(
        location=location,
        class_name=names[label.index],
        corners=(xmin * width, ymin * height, xmax * width, ymax * height),
        difficult=False,
    )


def _parse_line(line: str, names: Mapping[int, str], *, keypoints: bool) -> _Label:
    """Read a line.

    Raises:
        DataError: if it is none of a label file.
    """
    columns = line.split()
    remark = _kind_of(len(columns), keypoints=keypoints)
    values = [_number(column) for column in columns]
    index = _class_index(values[0], names)
    if remark == "polygon":
        _require_fractions(values[1:])
        xs, ys = values[1::2], values[2::2]
        return _Label(index=index, corners=(min(xs), min(ys), max(xs), max(ys)), remark=remark)
    x, y, width, height = values[1:5]
    if min(width, height) < 0:
        message = f"expected a width and a height from 0, got {width:g} and {height:g}; correct it"
        raise DataError(message)
    _require_fractions(values[1:5])
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return _Label(index=index, corners=corners, remark=remark)


def _kind_of(count: int, *, keypoints: bool) -> str:
    """Return the key of ``_REMARKS`` for a number of columns, nothing for a plain box."""
    if count == 5:
        return ""
    if keypoints and count > 5:
        return "keypoints"
    if count == 6:
        return "confidence column"
    if count >= 7 and count % 2:
        return "polygon"
    message = (
        f"expected 5 columns class cx cy w h, or a class and the corners of a polygon, got {count} "
        "columns; correct the line"
    )
    raise DataError(message)


def _number(column: str) -> float:
    try:
        value = float(column)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        message = f"expected numbers divided by spaces, got {column[:40]!r}; correct the line"
        raise DataError(message)
    return value


def _class_index(value: float, names: Mapping[int, str]) -> int:
    if value not in names:  # 2.0, as numpy writes it, is the key 2
        message = (
            f"expected a class index from 0 to {max(names, default=0)} that has a name, got "
            f"{value:g}; correct it or add the name"
        )
        raise DataError(message)
    return int(value)


def _require_fractions(values: Sequence[float]) -> None:
    for value in values:
        if not 1 - _LARGEST <= value <= _LARGEST:
            hint = "in pixels? divide them by the image's sides" if value > 1 else "correct it"
            message = f"expected fractions of the image from 0 to 1, got {value:g}; {hint}"
            raise DataError(message)


def _snapped(fraction: float) -> float:
    """Return the border of the image for a corner that only rounding took out of it."""
    nearest = min(max(fraction, 0.0), 1.0)
    return nearest if abs(fraction - nearest) <= _ROUNDING else fraction
