"""Read a split of a YOLO folder: images, a label file for each, and the names of the classes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from detection.data.annotations import FoundObject
from detection.data.coco_file import CocoFile, CocoImage, Identifier, is_file, plain_path
from detection.data.images import is_image_name, read_size
from detection.data.issues import AnnotationIssue, composed
from detection.data.label_tables import (
    fault,
    note,
    read_text,
    require_folder,
    split_names,
    to_coco,
)
from detection.data.yolo_labels import parse_labels
from detection.errors import DataError, ImageError, shown
from detection.io.interrupts import raise_if_interrupted
from detection.structures import Size

MAX_CHARACTERS = 1 << 18
"""A longer YAML file is refused; one with the names of a thousand classes takes 30 KB."""

_CLASS_LISTS = ("classes.txt", "obj.names", "labels/classes.txt")
"""Where tools write the names of the classes, one a line, without a YAML file."""


def open_yolo(root: Path, split: str) -> CocoFile:
    """Read the label files of a split as the tables of a COCO file.

    Classes are numbered as in the labels. An image without a label file is one without objects.
    Faults of single lines are listed in ``issues``.

    Args:
        root: the folder of the YAML file, or of ``classes.txt`` or ``obj.names``. Images lie in
            it, their labels in ``labels`` where the path of the images has ``images``, or beside.
        split: an entry of the YAML file, or a folder ``images/<split>``, ``<split>/images`` or
            ``<split>``, or a list ``<split>.txt``. ``trainval`` also takes ``train``, and
            ``test`` what is called ``val``, ``valid`` or ``validation``.

    Raises:
        DataError: if the names or the images of the split cannot be found.
    """
    require_folder(root)
    index = _open_index(root)
    issues = list(index.issues)
    images = _to_images(_find_split(index, root, split, issues))
    objects: dict[Identifier, list[FoundObject]] = {}
    labels = _Labels(root)
    for image in images:
        found, more = _read_labels(index, root, image.file_name, labels)
        issues += more
        if found:
            objects[image.image_id] = found
    categories: dict[Identifier, str] = dict(index.names.items())
    return to_coco(index.path, categories, images, objects, issues)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """The names of the classes and where the splits are.

    Attributes:
        path: of the YAML file or of the list of classes.
        names: class index -> name.
        content: of the YAML file; nothing for a list of classes.
        issues: what is wrong with the names.
    """

    path: Path
    names: Mapping[int, str]
    content: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[AnnotationIssue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """An image: its path from the root, and the same from the folder of its split."""

    file_name: str
    inside: str


# ------------------------------------------------------------------------------ names of classes


def _open_index(root: Path) -> _Index:
    """Find the names of the classes.

    Raises:
        DataError: if there are none, or several files that hold some.
    """
    usual = root / "data.yaml"
    paths = [usual] if is_file(usual) else sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    contents = {path: _load(path) for path in paths if not path.name.startswith(".")}
    named = [path for path, content in contents.items() if content.get("names")]
    if len(named) == 1:
        return _index_of(named[0], _names_of(named[0], contents[named[0]]["names"]), contents)
    if not named:
        for path in (root / name for name in _CLASS_LISTS):
            if is_file(path):
                lines = read_text(path).rstrip().splitlines()
                return _index_of(path, dict(enumerate(lines)), contents)
    got = ", ".join(path.name for path in named) or "none of them"
    message = (
        f"{root}: expected one YAML file with names, such as data.yaml, or classes.txt or "
        f"obj.names, got {got}; write or choose one"
    )
    raise DataError(message)


def _load(path: Path) -> dict[str, Any]:
    """Read a YAML file of plain values.

    Raises:
        DataError: for whatever PyYAML stumbles over.
    """
    text = read_text(path)
    got = f"{len(text):,} characters" if len(text) > MAX_CHARACTERS else ""
    if not got and re.search(r"<<['\"]?\s*:|!!merge", text):
        got = "merge keys"  # nested ones make a few lines fill the memory
    if got:
        message = (
            f"{path}: expected YAML of at most {MAX_CHARACTERS:,} characters without merge keys, "
            f"got {got}; keep the names and the splits only"
        )
        raise DataError(message)
    try:
        content = yaml.safe_load(text)
    except Exception as error:  # its constructors raise what they like
        raise_if_interrupted(error)
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        message = f"{path}: expected YAML, got an error: {reason}; correct it"
        raise DataError(message) from error
    return content if isinstance(content, dict) else {}


def _names_of(path: Path, names: object) -> dict[int, str]:
    """Return class index -> name of a YAML list or mapping.

    Raises:
        DataError: if it is neither, or holds what is no index or no name.
    """
    pairs = list(enumerate(names)) if isinstance(names, list) else None
    if isinstance(names, dict):
        pairs = [(_index(key), name) for key, name in names.items()]
    if pairs is None:
        message = f"{path}: names: expected a list or a mapping from 0 on, got {shown(names)}"
        raise DataError(message)
    for index, name in pairs:
        if index < 0 or not _is_name(name):
            message = (
                f"{path}: names: expected class indices from 0 and texts, got {shown(names)}; "
                "write each name in quotes"
            )
            raise DataError(message)
    return {index: str(name) for index, name in sorted(pairs)}


def _is_name(name: object) -> bool:
    """Return whether a value is a text or a plain number, which tools leave without quotes."""
    if isinstance(name, int | float) and not isinstance(name, bool):
        return abs(name) < 1 << 63
    return isinstance(name, str)


def _index(key: object) -> int:
    """Return a class index, also of a text; -1 for what is none."""
    if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10:
        return int(key)
    return key if isinstance(key, int) and not isinstance(key, bool) and key < 10**9 else -1


def _index_of(
    path: Path, names: Mapping[int, str], contents: Mapping[Path, Mapping[str, Any]]
) -> _Index:
    """Return the index with names composed; those that are empty or alike are issues."""
    tidy = {index: composed(name.strip()) for index, name in names.items()}
    issues = []
    seen: dict[str, int] = {}
    for index, name in tidy.items():
        if not name or name in seen:
            got = f"{name[:60]!r} again, as of class {seen[name]}" if name else "an empty one"
            what = f"expected a name of its own, got {got}; correct it"
            issues.append(fault("bad category", f"{path.name}: class {index}", what))
        seen.setdefault(name, index)
    return _Index(path=path, names=tidy, content=contents.get(path, {}), issues=tuple(issues))


# ------------------------------------------------------------------------------ images of a split


def _find_split(
    index: _Index, root: Path, split: str, issues: list[AnnotationIssue]
) -> list[_Listed]:
    """Return the images of a split.

    Raises:
        DataError: if no place of the split is there.
    """
    bases = _bases(index, root)
    for name in split_names(split):
        entry = index.content.get(name)
        entries = [item for item in (entry if isinstance(entry, list) else [entry]) if item]
        texts = [item if isinstance(item, str) else shown(item) for item in entries]
        found = [_locate(text, bases, root) for text in texts]
        places = [place for place in found if place is not None]
        if places and len(places) == len(found):
            return [image for place in places for image in _list(place, bases, root, issues)]
        if places:
            missing = entries[found.index(None)]
            message = f"{index.path}: {name}: expected images in {root}, got no {shown(missing)}"
            raise DataError(message)
        for usual in (f"images/{name}", f"{name}/images", name, f"{name}.txt"):
            place = _locate(usual, [root], root)
            if place is not None:
                return _list(place, bases, root, issues)
    stated = {name: index.content[name] for name in split_names(split) if name in index.content}
    got = f"{shown(stated)} that is not there" if stated else "none of them"
    message = (
        f"{index.path}: expected images of {split!r} in {root}: an entry of a YAML file, or "
        f"images/{split}, {split}/images or {split}.txt, got {got}; correct the name of the split "
        "or data.root"
    )
    raise DataError(message)


def _bases(index: _Index, root: Path) -> list[Path]:
    """Return the folders that entries of the YAML file may start from."""
    stated = index.content.get("path")
    below = _inside(root / stated.replace("\\", "/"), root) if isinstance(stated, str) else None
    return [root] if below is None else [root / below, root]


def _inside(path: Path, root: Path) -> str | None:
    """Return the path from the root, with slashes, of what lies in it; links are not followed."""
    relative = os.path.relpath(path, root) if "\0" not in str(path) else ".."
    posix = PurePosixPath(Path(relative).as_posix())
    return None if posix.is_absolute() or ".." in posix.parts else str(posix)


def _spellings(text: str, bases: Sequence[Path], root: Path) -> Iterator[Path]:
    """Return what a path may mean, in the order of trust.

    Tools write paths of the machine they ran on, ``../train/images`` for what is beside the YAML
    file (Roboflow) and ``data/`` in front of every image (CVAT).
    """
    text = text.strip().replace("\\", "/")
    yield from (base / text for base in bases)
    parts = [part for part in text.split("/") if part and part != "."]
    if parts[:1] == [".."]:
        rest = "/".join(part for part in parts if part != "..")
        yield from (base / rest for base in bases)
    elif text.startswith("/") or re.match(r"[A-Za-z]:/", text):
        # at least a folder has to agree
        yield from (root.joinpath(*parts[start:]) for start in range(1, len(parts) - 1))
    elif parts[:1] == ["data"]:
        yield from (base.joinpath(*parts[1:]) for base in bases)


def _locate(text: str, bases: Sequence[Path], root: Path) -> Path | None:
    """Return the folder or file below the root that a path means; None if there is none."""
    for path in _spellings(text, bases, root):
        below = _inside(path, root)
        if below is not None and (is_file(root / below) or (root / below).is_dir()):
            return root / below
    return None


def _list(
    place: Path, bases: Sequence[Path], root: Path, issues: list[AnnotationIssue]
) -> list[_Listed]:
    """Return the images in a folder and the folders below it, or those that a text file names."""
    if not place.is_dir():
        return _read_list(place, bases, root, issues)
    found = []
    for folder, folders, names in os.walk(place):
        folders.sort()
        paths = (Path(folder, name) for name in sorted(names) if is_image_name(name))
        found += [
            _Listed(
                file_name=path.relative_to(root).as_posix(),
                inside=path.relative_to(place).as_posix(),
            )
            for path in paths
        ]
    return found


def _read_list(
    path: Path, bases: Sequence[Path], root: Path, issues: list[AnnotationIssue]
) -> list[_Listed]:
    """Return the images that a list names, one path a line; one that is not there is kept."""
    found: dict[str, None] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        location = f"{_inside(path, root)}: line {number}"
        place = _locate(line, [path.parent, *bases], root)
        try:
            name = plain_path(line.strip()) if place is None else str(_inside(place, root))
        except DataError as error:
            issues.append(fault("bad image", location, str(error)))
            continue
        if name in found:
            what = f"expected each image once, got {name[:80]!r} again; counted once"
            issues.append(note("duplicate in the list", location, what))
        found[name] = None
    return [_Listed(file_name=name, inside=name) for name in found]


def _to_images(listed: Sequence[_Listed]) -> list[CocoImage]:
    """Return the images with unique identifiers: their paths, as short as tells them apart."""
    once = {image.file_name: image for image in listed}
    inside = [image.inside for image in once.values()]
    choices = [[_stem(name) for name in inside], [_stem(name) for name in once], list(once)]
    ids = next(names for names in choices if len(set(names)) == len(names))
    return [
        CocoImage(image_id=image_id, file_name=name, size=None)
        for image_id, name in zip(ids, once, strict=True)
    ]


def _stem(name: str) -> str:
    return name.removesuffix(PurePosixPath(name).suffix)


# ------------------------------------------------------------------------------ labels of an image


class _Labels:
    """Finds label files; the names in each folder are read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: dict[str, dict[str, str]] = {}

    def find(self, file_name: str) -> str | None:
        """Return the path of an image's label file, from the root; None if there is none."""
        for wanted in _label_paths(file_name):
            folder, _, name = wanted.rpartition("/")
            if folder not in self.names:
                self.names[folder] = self._names_in(self.root / folder)
            own = self.names[folder].get(composed(name))
            if own is not None:
                return f"{folder}/{own}" if folder else own
        return None

    @staticmethod
    def _names_in(folder: Path) -> dict[str, str]:
        """Map composed names to the names of the text files in a folder."""
        try:
            names = os.listdir(folder)  # noqa: PTH208 - a Path for each of 100,000 files is slow
        except OSError:
            return {}
        return {composed(name): name for name in names if name.endswith(".txt")}


def _label_paths(file_name: str) -> Iterator[str]:
    """Return where the labels of an image may be, from the root: in ``labels``, or beside it."""
    beside = f"{_stem(file_name)}.txt"
    parts = beside.split("/")
    folders = parts[:-1]
    if "images" in folders:
        last = len(folders) - 1 - folders[::-1].index("images")
        yield "/".join([*parts[:last], "labels", *parts[last + 1 :]])
    yield beside


def _read_labels(
    index: _Index, root: Path, file_name: str, labels: _Labels
) -> tuple[list[FoundObject], list[AnnotationIssue]]:
    """Return the objects of an image and the issues of its label file."""
    file = labels.find(file_name)
    if file is None:
        what = "expected a label file, got none; read as an image without objects"
        return [], [note("no label file", next(_label_paths(file_name)), what)]
    try:
        text = read_text(root / file)
    except DataError as error:
        return [], [fault("bad label", file, str(error).removeprefix(f"{root / file}: "))]
    size = _size_of(root / file_name) if text.strip() else None
    return parse_labels(text, file, index.names, size, keypoints="kpt_shape" in index.content)


def _size_of(path: Path) -> Size | None:
    """Return the (height, width) of an image; None if it cannot be read, which its reader says."""
    try:
        return read_size(path)
    except ImageError:
        return None
