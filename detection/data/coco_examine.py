"""The images that a COCO file lists, looked at one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from detection.data.annotations import CheckedImage, examine_objects, settle_size
from detection.data.coco_file import CocoFile, CocoImage
from detection.data.issues import AnnotationIssue, Rules
from detection.data.overlap import FileIdentity, identity_of


def twins(coco: CocoFile, folder: Path) -> list[AnnotationIssue]:
    """Return an issue for each file that the table of images lists under a second identifier."""
    seen: dict[FileIdentity | str, CocoImage] = {}
    issues = []
    for image in coco.images:
        first = seen.setdefault(identity_of(folder / image.file_name) or image.file_name, image)
        if first is not image:
            what = (
                f"expected each file once, got it as image {first.image_id!r} and as image "
                f"{image.image_id!r}; move all its objects to one"
            )
            location = f"{coco.path}: {image.file_name}"
            issues.append(
                AnnotationIssue(
                    kind="file under two ids", location=location, what=what, action="stop"
                )
            )
    return issues


def examine_coco(
    coco: CocoFile,
    folder: Path,
    images: Iterable[CocoImage],
    rules: Rules,
    *,
    known: Sequence[str] = (),
) -> Iterator[CheckedImage]:
    """Read images' headers and say what is wrong with each and with its objects."""
    known_names = frozenset(known)
    for image in images:
        issues: list[AnnotationIssue] = []
        path = folder / image.file_name
        location = f"{coco.path}: image {image.image_id!r}"
        size = settle_size(path, image.size, location, rules, issues)
        parsed = coco.objects.get(image.image_id, ()) if size is not None else ()
        kept, more = examine_objects(parsed, size or (1, 1), rules, known_names, one_based=False)
        yield CheckedImage(
            image_id=str(image.image_id),
            path=path,
            size=size,
            objects=kept,
            issues=(*issues, *more),
        )
