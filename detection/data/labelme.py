"""Read LabelMe's JSON files, one beside each image."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detection.data.annotations import FoundObject
from detection.data.coco_file import CocoFile, CocoImage, Identifier
from detection.data.image_files import EXTENSIONS, read_file
from detection.data.issues import AnnotationIssue, Corners, composed
from detection.data.label_tables import fault, note, to_coco
from detection.data.roots import require_folder
from detection.data.voc_folder import files_below
from detection.errors import DataError, shown
from detection.values import Size

_HEAD = 1 << 12
"""Bytes of a JSON file that are looked at to tell what it is."""

_LOOKED_AT = 50
"""JSON files that are looked at."""

_AREAS = {"rectangle", "polygon", "circle", "mask", "rotation", "oriented_rectangle", None}
"""Shapes that have an area; None stands for the polygon of LabelMe's first versions."""


@dataclass(slots=True)
class _Found:
    """What was read so far."""

    images: list[CocoImage] = field(default_factory=list)
    objects: dict[Identifier, list[FoundObject]] = field(default_factory=dict)
    issues: list[AnnotationIssue] = field(default_factory=list)


def looks_like_labelme(root: Path) -> bool:
    """Return whether a JSON file below a folder begins as LabelMe's do."""
    paths = (root / name for name in files_below(root) if name.lower().endswith(".json"))
    return any(_has_shapes(path) for path, _ in zip(paths, range(_LOOKED_AT), strict=False))


def open_labelme(root: Path) -> CocoFile:
    """Read the JSON files below a folder as the tables of a COCO file.

    Rectangles are read, of polygons and circles the box around them; points and lines have none.
    The image lies beside its file, called as the file says, or like the file.

    Args:
        root: the folder.

    Raises:
        DataError: if it is not there.
    """
    require_folder(root)
    names = sorted(files_below(root))
    there = {composed(name): name for name in names}
    found = _Found()
    listed: dict[str, str] = {}
    for name in names:
        if name.lower().endswith(".json") and _has_shapes(root / name):
            _read_one(root, name, there, listed, found)
    classes = sorted({item.class_name for own in found.objects.values() for item in own})
    categories: dict[Identifier, str] = dict(enumerate(classes, start=1))
    return to_coco(root, categories, found.images, found.objects, found.issues)


def _has_shapes(path: Path) -> bool:
    """Return whether the beginning of a file has LabelMe's list, or its version before flags."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    known = re.search(rb'"(shapes|imagePath)"\s*:', head) is not None
    return head.lstrip()[:1] == b"{" and known


def _read_one(
    root: Path, name: str, there: Mapping[str, str], listed: dict[str, str], found: _Found
) -> None:
    """Read a file and note what is wrong with it."""
    try:
        content = _load(root / name)
        image = _image_of(name, content, there)
    except DataError as error:
        found.issues.append(fault("bad label", name, str(error)))
        return
    if image in listed:
        what = f"expected an image of its own, got {image}, which {listed[image]} has; remove one"
        found.issues.append(fault("two files of one image", name, what))
        return
    listed[image] = name
    sides = [_length(content.get(side)) for side in ("imageHeight", "imageWidth")]
    size: Size | None = (sides[0], sides[1]) if min(sides) > 0 else None
    image_id = name.rpartition(".")[0]
    found.images.append(CocoImage(image_id=image_id, file_name=image, size=size))
    objects = list(_objects(content["shapes"], name, found.issues))
    if objects:
        found.objects[image_id] = objects


def _load(path: Path) -> dict[str, Any]:
    """Return the content of a file.

    Raises:
        DataError: if it is none of LabelMe.
    """
    try:
        content = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        message = f"expected JSON, got {error}; save it again"
        raise DataError(message) from error
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        message = f"expected a list 'shapes', got {shown(content)}; save it again"
        raise DataError(message)
    return content


def _image_of(name: str, content: Mapping[str, Any], there: Mapping[str, str]) -> str:
    """Return the path of a file's image, from the root.

    The file may say how to get to the folder of the images on the machine that it was made on: only
    the last part of that counts.
    """
    folder, slash, last = name.rpartition("/")
    stated = content.get("imagePath")
    if isinstance(stated, str) and not _is_unicode(stated):
        message = f"expected a path as imagePath, got {shown(stated)}; correct it"
        raise DataError(message)
    named = stated.replace("\\", "/").rpartition("/")[2] if isinstance(stated, str) else ""
    stem = last.rpartition(".")[0]
    for own in (named, *(f"{stem}{end}" for end in (*EXTENSIONS, *map(str.upper, EXTENSIONS)))):
        path = composed(f"{folder}{slash}{own}")
        if own and path in there and path != composed(name):
            return there[path]
    beside = _inside(folder, stated) if isinstance(stated, str) else None
    if beside is not None and composed(beside) in there:
        return there[composed(beside)]
    return f"{folder}{slash}{named or f'{stem}.jpg'}"


def _inside(folder: str, stated: str) -> str | None:
    """Return the path that a file states, from the root; None if it leads out of it."""
    parts = folder.split("/") if folder else []
    for part in stated.replace("\\", "/").split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def _objects(
    shapes: Sequence[object], name: str, issues: list[AnnotationIssue]
) -> Iterator[FoundObject]:
    """Yield the objects of a file; what is none is an issue."""
    for number, shape in enumerate(shapes, start=1):
        location = f"{name}: shape {number}"
        try:
            if not isinstance(shape, dict):
                message = f"expected an object, got {shown(shape)}; correct it"
                raise DataError(message)
            kind = shape.get("shape_type")
            if not isinstance(kind, str | None) or kind not in _AREAS:
                what = f"expected a shape with an area, got {shown(kind)}; left out"
                issues.append(note("shape without area", location, what))
                continue
            corners = _corners(shape.get("points"), kind)
            class_name = _label(shape)
        except DataError as error:
            issues.append(fault("bad shape", location, str(error)))
            continue
        if kind != "rectangle":
            what = f"expected a rectangle, got a {kind or 'polygon'}; its bounding box is read"
            issues.append(note("polygon", location, what))
        yield FoundObject(
            location=location, class_name=class_name, corners=corners, difficult=False
        )


def _label(shape: Mapping[str, Any]) -> str:
    label = shape.get("label")
    if not isinstance(label, str) or not label.strip() or not _is_unicode(label):
        message = f"expected a label, got {shown(label)}; name the object"
        raise DataError(message)
    return composed(label.strip())


def _is_unicode(text: str) -> bool:
    """Return whether a text is valid Unicode: JSON can spell lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _corners(points: object, kind: object) -> Corners:
    """Return the box around the points of a shape.

    Raises:
        DataError: if these are no points.
    """
    pairs = points if isinstance(points, list) else []
    if len(pairs) < 2 or not all(_is_point(pair) for pair in pairs):
        message = f"expected two points or more, got {shown(points)}; correct the shape"
        raise DataError(message)
    if kind == "circle":  # the centre and a point of the rim
        (x, y), (x2, y2) = pairs[:2]
        radius = math.hypot(x2 - x, y2 - y)
        return x - radius, y - radius, x + radius, y + radius
    xs, ys = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    return min(xs), min(ys), max(xs), max(ys)


def _is_point(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    numbers = [v for v in value if isinstance(v, int | float) and not isinstance(v, bool)]
    return len(numbers) == 2 and all(abs(v) < 1e12 for v in numbers)


def _length(value: object) -> int:
    """Return a whole number of pixels; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        return 0
    return int(value) if value == int(value) else 0
