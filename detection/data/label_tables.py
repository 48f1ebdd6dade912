"""What label files of several formats become: the tables of a COCO file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detection.data.annotations import FoundObject
from detection.data.coco_file import CocoFile, CocoImage, Identifier
from detection.data.image_files import read_file
from detection.data.issues import AnnotationIssue
from detection.errors import DataError


def read_text(path: Path) -> str:
    """Return the text of a file, without a byte order mark.

    Raises:
        DataError: naming the file where it cannot be read or is not UTF-8.
    """
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: expected UTF-8 text, got byte {error.start} that is not; save it anew"
        raise DataError(message) from error


def fault(kind: str, location: str, what: str) -> AnnotationIssue:
    """Return an issue that stops a reader."""
    return AnnotationIssue(kind=kind, location=location, what=what, action="stop")


def note(kind: str, location: str, what: str) -> AnnotationIssue:
    """Return an issue that is only counted."""
    return AnnotationIssue(kind=kind, location=location, what=what, action="note")


def to_coco(
    path: Path,
    categories: Mapping[Identifier, str],
    images: Sequence[CocoImage],
    objects: Mapping[Identifier, Sequence[FoundObject]],
    issues: Sequence[AnnotationIssue],
) -> CocoFile:
    """Return the tables of a COCO file; annotations are numbered from 1, in the images' order.

    Args:
        path: the file that stands for the data set.
        categories: identifier -> name.
        images: of the split.
        objects: image identifier -> its objects, corners in continuous pixels.
        issues: what was wrong with the label files.
    """
    own = {name: identifier for identifier, name in categories.items()}
    pairs = [(image.image_id, item) for image in images for item in objects.get(image.image_id, ())]
    rows = tuple(
        _row(number, image_id, own[item.class_name], item)
        for number, (image_id, item) in enumerate(pairs, start=1)
    )
    if not images and all(issue.action != "stop" for issue in issues):
        what = "expected at least one image, got none; list the images"
        issues = (*issues, fault("empty list", str(path), what))
    return CocoFile(
        path=path,
        categories=categories,
        images=tuple(images),
        objects=objects,
        annotations=rows,
        issues=tuple(issues),
    )


def _row(
    number: int, image_id: Identifier, category_id: Identifier, item: FoundObject
) -> dict[str, Any]:
    xmin, ymin, xmax, ymax = item.corners
    width, height = xmax - xmin, ymax - ymin
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [xmin, ymin, width, height],
        "area": width * height,
        "iscrowd": 0,
    }
