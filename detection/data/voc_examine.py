"""The images of a VOC folder and their annotations, looked at one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from detection.data.annotations import (
    CheckedImage,
    CheckedObject,
    FoundObject,
    examine_objects,
    issue_of,
    settle_size,
)
from detection.data.image_files import read_file
from detection.data.issues import AnnotationIssue, Rules, composed
from detection.data.voc_folder import VocFolder
from detection.data.voc_xml import Annotation, parse_annotation
from detection.errors import DataError


def examine(
    folder: VocFolder, image_ids: Iterable[str], rules: Rules, *, known: Sequence[str] = ()
) -> Iterator[CheckedImage]:
    """Read images' headers and annotations, one after another, and say what is wrong with each.

    Args:
        folder: where they are.
        image_ids: which ones.
        rules: what stops a reader.
        known: the class names; empty takes every name.
    """
    known_names = frozenset(known)
    for image_id in image_ids:
        yield _examine_one(folder, image_id, rules, known_names)


def _examine_one(
    folder: VocFolder, image_id: str, rules: Rules, known: frozenset[str]
) -> CheckedImage:
    xml_path = folder.annotation_path(image_id)
    location = str(xml_path)
    try:
        annotation = parse_annotation(read_file(xml_path), location)
    except DataError as error:
        missing = issue_of("missing annotation", location, error, "stop")
        annotation = Annotation(filename="", size=None, objects=(), issues=(missing,))
    issues = list(annotation.issues)
    path = _choose_image(folder, image_id, annotation, location, issues)
    size = settle_size(path, annotation.size, location, rules, issues)
    filename = composed(annotation.filename)
    stem = Path(filename.replace("\\", "/")).stem
    if filename and not {image_id, Path(image_id).name} & {stem, filename}:
        what = f"expected the <filename> of {image_id}, got {annotation.filename[:80]!r}; not used"
        issues.append(
            AnnotationIssue(kind="other filename", location=location, what=what, action="note")
        )
    parsed = (
        FoundObject(
            location=f"{location}: object {item.number}",
            class_name=item.class_name,
            corners=item.corners,
            difficult=item.difficult,
            truncated=item.truncated,
            occluded=item.occluded,
        )
        for item in annotation.objects
    )
    if size is None:
        objects: tuple[CheckedObject, ...] = ()
    else:
        objects, more = examine_objects(parsed, size, rules, known, one_based=True)
        issues += more
    return CheckedImage(
        image_id=image_id,
        path=path,
        size=size,
        objects=objects,
        issues=tuple(issues),
    )


def _choose_image(
    folder: VocFolder,
    image_id: str,
    annotation: Annotation,
    location: str,
    issues: list[AnnotationIssue],
) -> Path:
    """Return the image of an annotation; of several files with its stem the one that it names."""
    candidates = folder.twins.get(image_id, ())
    named = composed(annotation.filename.replace("\\", "/").rpartition("/")[2])
    chosen = [name for name in candidates if composed(name.rpartition("/")[2]) == named]
    if candidates and not chosen:
        names = [name.rpartition("/")[2] for name in candidates]
        what = (
            f"expected one image, got {' and '.join(names)}, and a <filename> that names none "
            "of them; remove one"
        )
        issues.append(
            AnnotationIssue(
                kind="two files of one stem", location=location, what=what, action="stop"
            )
        )
    return folder.path / chosen[0] if chosen else folder.image_path(image_id)
