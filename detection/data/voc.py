"""Read a split of any folder in VOC layout."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from detection.data.voc_xml import Annotation, VocObject, parse_annotation, write_voc_annotation
from detection.errors import DataError
from detection.structures import Dataset

__all__ = ["VocObject", "read_voc", "write_voc_annotation"]


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
    if filename and image_id not in {stem, filename}:
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
    chosen = [name for name in candidates if composed(name) == named]
    if candidates and not chosen:
        what = (
            f"expected one image, got {' and '.join(candidates)}, and a <filename> that names none "
            "of them; remove one"
        )
        issues.append(
            AnnotationIssue(
                kind="two files of one stem", location=location, what=what, action="stop"
            )
        )
    return folder.path / "JPEGImages" / chosen[0] if chosen else folder.image_path(image_id)


MAX_NAME = 200
"""Letters of an identifier; file systems end at 255 bytes."""

_MEMBERSHIP = {"1": True, "0": False, "-1": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class VocFolder:
    """A folder with ``JPEGImages``, ``Annotations`` and ``ImageSets/Main``.

    Attributes:
        path: the folder.
        images: stem (NFC) -> file name in ``JPEGImages``.
        twins: stem -> all file names, where there are several.
        annotations: stem (NFC) -> file name in ``Annotations``, where the two differ.
    """

    path: Path
    images: Mapping[str, str]
    twins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name, for example ``VOC2012``."""
        return self.path.name

    def image_path(self, image_id: str) -> Path:
        """Return the path of an image; its usual name if it does not exist."""
        return self.path / "JPEGImages" / self.images.get(image_id, f"{image_id}.jpg")

    def annotation_path(self, image_id: str) -> Path:
        """Return the path of an annotation."""
        return self.path / "Annotations" / self.annotations.get(image_id, f"{image_id}.xml")

    def only(self, image_ids: Collection[str]) -> VocFolder:
        """Return the same folder with the names of some images, to be sent to another process."""
        kept = frozenset(image_ids)
        return replace(
            self,
            images={key: name for key, name in self.images.items() if key in kept},
            twins={key: names for key, names in self.twins.items() if key in kept},
            annotations={key: name for key, name in self.annotations.items() if key in kept},
        )

    def split_path(self, split: str) -> Path:
        """Return the path of a split's image list."""
        return self.path / "ImageSets" / "Main" / f"{split}.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The image ids of a split, in the order of its list, and what was wrong with the list."""

    image_ids: tuple[str, ...]
    issues: tuple[AnnotationIssue, ...]


def open_voc_folder(root: Path, year: int = 0) -> VocFolder:
    """Find the folder in VOC layout at or below ``root``.

    Args:
        root: the folder itself, a ``VOCdevkit`` with ``VOC<year>`` folders, or what contains one.
        year: which ``VOC<year>``; 0 takes the only one there is.

    Raises:
        DataError: if there is none, or more than one and no year.
    """
    if not root.is_dir():
        message = f"{root}: expected a folder, got none; correct data.root or fetch the data"
        raise DataError(message)
    folders = [root] if _is_voc(root) else []
    for devkit in (root, root / "VOCdevkit"):
        if not folders and devkit.is_dir():
            pattern = f"VOC{year}" if year else "VOC*"
            folders = sorted(path for path in devkit.glob(pattern) if _is_voc(path))
    if len(folders) != 1:
        wanted = f"VOC{year}" if year else "one VOC<year> folder"
        names = ", ".join(path.name for path in folders) or "none"
        message = (
            f"{root}: expected {wanted} with JPEGImages, Annotations and ImageSets/Main, got "
            f"{names}; set data.root or data.year"
        )
        raise DataError(message)
    found = _index_images(folders[0] / "JPEGImages")
    return VocFolder(
        path=folders[0],
        images={stem: names[0] for stem, names in found.items()},
        twins={stem: names for stem, names in found.items() if len(names) > 1},
        annotations=_index_annotations(folders[0] / "Annotations"),
    )


def _is_voc(path: Path) -> bool:
    parts = ("JPEGImages", "Annotations", "ImageSets/Main")
    return all((path / part).is_dir() for part in parts)


def _index_images(folder: Path) -> dict[str, tuple[str, ...]]:
    """Map stems to file names; of several with one stem, in the order of EXTENSIONS."""
    rank = {extension: number for number, extension in enumerate(EXTENSIONS)}
    found: dict[str, list[tuple[int, str]]] = {}
    for name in os.listdir(folder):  # noqa: PTH208 - a Path for each of 20,000 files is slow
        stem, extension = os.path.splitext(name)  # noqa: PTH122
        if extension.lower() in rank and not name.startswith("."):
            found.setdefault(composed(stem), []).append((rank[extension.lower()], name))
    return {stem: tuple(name for _, name in sorted(names)) for stem, names in found.items()}


def _index_annotations(folder: Path) -> dict[str, str]:
    """Map stems to file names where these are written otherwise than their stem and ``.xml``."""
    found = {}
    for name in os.listdir(folder):  # noqa: PTH208
        stem, extension = os.path.splitext(name)  # noqa: PTH122
        usual = f"{composed(stem)}.xml"
        if extension.lower() == ".xml" and name != usual and not name.startswith("."):
            found[composed(stem)] = name
    return found


def read_split(folder: VocFolder, split: str) -> Split:
    """Read ``ImageSets/Main/<split>.txt``.

    A second column, as in ``cat_train.txt``, says whether the image shows the class: images with 1
    are taken, those with -1 (absent) and 0 (difficult objects only) are left out.

    Raises:
        DataError: if the list is missing, no text, or lists nothing.
    """
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
    if line in {".", ".."} or any(mark in line for mark in "/\\:\0") or len(line) > MAX_NAME:
        what = f"expected a plain identifier, got {line[:60]!r}; write the file's stem"
        return None, AnnotationIssue(
            kind="bad identifier", location=location, what=what, action="stop"
        )
    return line or None, None
