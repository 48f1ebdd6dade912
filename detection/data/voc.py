"""Read a split of any folder in VOC layout."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detection.data.annotations import (
    CheckedImage,
    CheckedObject,
    FoundObject,
    assemble,
    examine_objects,
    issue_of,
    read_all,
    settle_size,
)
from detection.data.images import EXTENSIONS, read_file
from detection.data.issues import Allowed, AnnotationIssue, Rules, composed, stop_at
from detection.data.voc_folder import VocFolder, open_voc_folder
from detection.data.voc_xml import Annotation, VocObject, parse_annotation, write_voc_annotation
from detection.errors import DataError
from detection.structures import Dataset

__all__ = ["VocFolder", "VocObject", "open_voc_folder", "read_voc", "write_voc_annotation"]


def read_voc(
    root: Path,
    split: str,
    *,
    year: int = 0,
    class_names: Sequence[str] = (),
    strict: bool = False,
    ignore_unknown_classes: bool = False,
    allow: Collection[Allowed] = (),
    max_skipped: float = 0.01,
) -> Dataset:
    """Read one split: every listed image, with or without objects, difficult objects included.

    Args:
        root: see ``open_voc_folder``.
        split: the list's name in ``ImageSets/Main``.
        year: which ``VOC<year>`` of a ``VOCdevkit``; 0 takes the only one there is.
        class_names: label order; empty takes the names in the split's annotations, sorted.
        strict: for evaluation, see ``Rules``.
        ignore_unknown_classes: leave out objects of other classes, counted, instead of stopping.
        allow: faults that do not stop a strict reading.
        max_skipped: the fraction of unreadable images that a reading that is not strict leaves out.

    Raises:
        DataError: at the first fault that is not to be left out or mended.
    """
    rules = Rules.of(
        strict=strict,
        ignore_unknown_classes=ignore_unknown_classes,
        allow=allow,
        max_skipped=max_skipped,
    )
    folder = open_voc_folder(root, year)
    listed = read_split(folder, split)
    stop_at(listed.issues)
    examined = read_all(examine(folder, listed.image_ids, rules, known=class_names))
    name = f"{folder.name} {split}"
    return assemble(name, split, examined, listed.issues, tuple(class_names), rules)


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


MAX_NAME = 200
"""Letters of an identifier; file systems end at 255 bytes."""

_MEMBERSHIP = {"1": True, "0": False, "-1": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The image ids of a split, in the order of its list, and what was wrong with the list."""

    image_ids: tuple[str, ...]
    issues: tuple[AnnotationIssue, ...]


def read_split(folder: VocFolder, split: str) -> Split:
    """Read ``ImageSets/Main/<split>.txt``.

    A second column, as in ``cat_train.txt``, says whether the image shows the class: images with 1
    are taken, those with -1 (absent) and 0 (difficult objects only) are left out.

    A folder without lists has those that ``open_voc_folder`` made.

    Raises:
        DataError: if the list is missing, no text, or lists nothing.
    """
    if folder.splits:
        return Split(image_ids=folder.made_split(split), issues=())
    path = folder.split_path(split)
    if not path.is_file():
        lists = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt"))[:20]) or "none"
        message = f"{path}: expected a list of images, got no such file; the lists are: {lists}"
        raise DataError(message)
    try:
        text = read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: expected UTF-8 text, got byte {error.start} that is not; save it anew"
        raise DataError(message) from error
    image_ids: dict[str, None] = {}
    issues: list[AnnotationIssue] = []
    for number, line in enumerate(text.splitlines(), start=1):
        image_id, issue = _read_line(line.strip(), f"{path}: line {number}", folder.images)
        if image_id in image_ids:
            what = f"expected each image once, got {image_id!r} again; counted once"
            issue = AnnotationIssue(
                kind="duplicate in the list",
                location=f"{path}: line {number}",
                what=what,
                action="note",
            )
        if image_id is not None:
            image_ids[image_id] = None
        if issue is not None:
            issues.append(issue)
    if not image_ids and all(issue.action != "stop" for issue in issues):
        what = "expected at least one image, got none; list the images, one identifier a line"
        issues.append(
            AnnotationIssue(kind="empty list", location=str(path), what=what, action="stop")
        )
    return Split(image_ids=tuple(image_ids), issues=tuple(issues))


def _plain_name(line: str, images: Mapping[str, str]) -> str:
    """Return the stem that a line means, where tools write quotes or the extension with it."""
    bare = line[1:-1] if len(line) > 2 and line[0] == line[-1] == '"' else line
    stem, extension = os.path.splitext(bare)  # noqa: PTH122
    if extension.lower() in EXTENSIONS and bare not in images and stem in images:
        return stem
    return bare if bare in images else line


def _read_line(
    line: str, location: str, images: Mapping[str, str]
) -> tuple[str | None, AnnotationIssue | None]:
    """Return the line's image id, or the issue with it; neither for a blank line."""
    line = composed(line)
    if line not in images:
        line = _plain_name(line, images)
    columns = line.split()
    if len(columns) == 2 and columns[1] in _MEMBERSHIP and line not in images:
        if not _MEMBERSHIP[columns[1]]:
            what = f"expected 1 in the second column, got {columns[1]}; the image is left out"
            return None, AnnotationIssue(
                kind="listed as absent", location=location, what=what, action="note"
            )
        line = _plain_name(columns[0], images)
    parts = line.split("/")
    odd = {"", ".", ".."} & set(parts) if len(parts) > 1 else line in {".", ".."}
    if odd or any(mark in line for mark in "\\:\0") or len(line) > MAX_NAME:
        what = f"expected a plain identifier, got {line[:60]!r}; write the file's stem"
        return None, AnnotationIssue(
            kind="bad identifier", location=location, what=what, action="stop"
        )
    return line or None, None
