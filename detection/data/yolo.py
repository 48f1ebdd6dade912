"""Read a split of a YOLO folder: images, a label file for each, and the names of the classes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from detection.data.annotations import FoundObject
from detection.data.coco_file import CocoFile, CocoImage, Identifier, plain_path
from detection.data.foreign_paths import without_prefix
from detection.data.image_files import is_image_name, known_header
from detection.data.issues import AnnotationIssue, composed
from detection.data.label_tables import fault, note, read_text, to_coco
from detection.data.roots import require_folder
from detection.data.split import names_of
from detection.data.yolo_index import YoloIndex, open_index
from detection.data.yolo_labels import parse_labels
from detection.errors import DataError, ImageError, shown
from detection.values import Size


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
    index = open_index(root)
    issues = list(index.issues)
    return _read_images(index, root, _find_split(index, root, split, issues), issues)


def open_whole_yolo(root: Path) -> CocoFile | None:
    """Read all images of a folder without lists, as Label Studio and CVAT write it.

    CVAT's only list is called ``train.txt`` where a task has no subsets.

    Returns:
        The tables; None where the folder has lists of its own.

    Raises:
        DataError: if the names of the classes cannot be found.
    """
    require_folder(root)
    index = open_index(root)
    stated = {name for split in _USUAL for name in names_of(split) if name in index.content}
    if stated and not (stated == {"train"} and index.content["train"] == "train.txt"):
        return None
    lists = [place for split in _USUAL for place in _usual_places(root, split)]
    only = root / "train.txt"
    by_cvat = bool(stated) or (root / "obj.data").is_file()
    if lists and not (by_cvat and only in lists and not _is_tested(root)):
        return None
    issues = list(index.issues)
    place = only if lists else root / "images"
    listed = _list(place if place.exists() else root, [root], root, issues)
    return _read_images(index, root, listed, issues) if listed else None


_USUAL = ("trainval", "test")


def _usual_places(root: Path, split: str) -> list[Path]:
    """Return the folders and lists that are called like a split, or what stands for it."""
    return [
        root / place
        for name in names_of(split)
        for place in _places_of(name)
        if (root / place).exists()
    ]


def _is_tested(root: Path) -> bool:
    return bool(_usual_places(root, "test"))


def _places_of(name: str) -> tuple[str, ...]:
    return (f"images/{name}", f"{name}/images", name, f"{name}.txt")


def _read_images(
    index: YoloIndex, root: Path, listed: Sequence[_Listed], issues: list[AnnotationIssue]
) -> CocoFile:
    """Read the labels of images."""
    images = _to_images(listed)
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
class _Listed:
    """An image: its path from the root, and the same from the folder of its split."""

    file_name: str
    inside: str


# ------------------------------------------------------------------------------ images of a split


def _find_split(
    index: YoloIndex, root: Path, split: str, issues: list[AnnotationIssue]
) -> list[_Listed]:
    """Return the images of a split.

    Raises:
        DataError: if no place of the split is there.
    """
    bases = _bases(index, root)
    for name in names_of(split):
        entry = index.content.get(name)
        entries = [item for item in (entry if isinstance(entry, list) else [entry]) if item]
        texts = [item if isinstance(item, str) else shown(item) for item in entries]
        found = [_locate(text, bases, root) for text in texts]
        places = [place for place in found if place is not None]
        if places and len(places) == len(found):
            return [image for place in places for image in _list(place, bases, root, issues)]
        _require_inside(index, root, [t for t, p in zip(texts, found, strict=True) if p is None])
        if places:
            missing = texts[found.index(None)]
            message = f"{index.path}: {name}: expected images in {root}, got no {missing[:80]!r}"
            raise DataError(f"{message}; correct the path")
        for usual in _places_of(name):
            place = _locate(usual, [root], root)
            if place is not None:
                return _list(place, bases, root, issues)
    stated = {name: index.content[name] for name in names_of(split) if name in index.content}
    got = f"{shown(stated)} that is not there" if stated else "none of them"
    message = (
        f"{index.path}: expected images of {split!r} in {root}: an entry of a YAML file, or "
        f"images/{split}, {split}/images or {split}.txt, got {got}; correct the name of the split "
        "or data.root"
    )
    raise DataError(message)


def _require_inside(index: YoloIndex, root: Path, texts: Sequence[str]) -> None:
    """Raise DataError if a path that is none in the root is there elsewhere."""
    stated = index.content.get("path")
    bases = [root / stated, root] if isinstance(stated, str) else [root]
    for text in texts:
        if any(_is_there(base / text) for base in bases):
            message = (
                f"{index.path}: expected images in {root}, got {text[:80]!r} outside it; move or "
                "link the images into it"
            )
            raise DataError(message)


def _bases(index: YoloIndex, root: Path) -> list[Path]:
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
        if below is not None and _is_there(root / below):
            return root / below
    return None


def _is_there(path: Path) -> bool:
    """Return whether there is such a file or folder; a name that none can have is not there."""
    try:
        return path.is_file() or path.is_dir()
    except (OSError, ValueError):
        return False


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
        self.plain: dict[str, dict[str, str]] = {}

    def find(self, file_name: str) -> str | None:
        """Return the path of an image's label file, from the root; None if there is none."""
        for wanted in _label_paths(file_name):
            folder, _, name = wanted.rpartition("/")
            if folder not in self.names:
                self.names[folder] = self._names_in(self.root / folder)
            there = self.names[folder]
            own = there.get(composed(name)) or self._prefixed(folder).get(composed(name))
            if own is not None:
                return f"{folder}/{own}" if folder else own
        return None

    def _prefixed(self, folder: str) -> dict[str, str]:
        """Map names without Label Studio's prefix to those with it, where only one is meant."""
        if folder not in self.plain:
            plain: dict[str, list[str]] = {}
            for name, own in self.names[folder].items():
                plain.setdefault(without_prefix(name), []).append(own)
            self.plain[folder] = {name: own[0] for name, own in plain.items() if len(own) == 1}
        return self.plain[folder]

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
    index: YoloIndex, root: Path, file_name: str, labels: _Labels
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
        return known_header(path)[0]
    except ImageError:
        return None
