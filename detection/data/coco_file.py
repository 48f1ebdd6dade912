"""The tables of a COCO JSON file, checked."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from detection.data.annotations import FoundObject
from detection.data.foreign_paths import Finder
from detection.data.image_files import read_file
from detection.data.issues import AnnotationIssue, Corners, composed, stop_at
from detection.data.split import names_of
from detection.errors import DataError, shown
from detection.values import Size

Identifier = int | str

_UNREAD = {"segmentation": "masks", "keypoints": "sets of keypoints", "attributes": "attributes"}
"""Key of an annotation that is no part of a detector's label -> what it holds, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoImage:
    """An image of a COCO file: its identifier, its file name, its stated (height, width)."""

    image_id: Identifier
    file_name: str
    size: Size | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoFile:
    """The tables of a COCO file.

    Attributes:
        path: of the file.
        categories: identifier -> name, in the order of the identifiers.
        images: in the order of the file.
        objects: image identifier -> its objects.
        annotations: the same objects as they stand: ``id`` (None where there is none) ``image_id
            category_id bbox area iscrowd``.
        issues: everything that is wrong with the tables.
        unread: what the annotations hold beside their boxes, such as masks -> how many of them.
    """

    path: Path
    categories: Mapping[Identifier, str]
    images: tuple[CocoImage, ...]
    objects: Mapping[Identifier, Sequence[FoundObject]]
    annotations: tuple[dict[str, Any], ...]
    issues: tuple[AnnotationIssue, ...]
    unread: Mapping[str, int] = field(default_factory=dict)

    def used_names(self) -> tuple[str, ...]:
        """Return the names of the categories that have objects, ordered by id."""
        used = {item.class_name for objects in self.objects.values() for item in objects}
        return tuple(name for name in self.categories.values() if name in used)


def category_ids(annotations: Path) -> dict[str, Identifier]:
    """Return the id of each category name, for writing results with the file's own ids.

    Raises:
        DataError: if the file is no COCO file.
    """
    coco = _read(annotations, annotations.parent)
    stop_at(coco.issues)
    return {name: identifier for identifier, name in coco.categories.items()}


def open_coco(images: Path, annotations: Path) -> CocoFile:
    """Read the tables of a COCO file; faults of single entries are listed in its ``problems``.

    Raises:
        DataError: if the file cannot be read or has not the form of a COCO file.
    """
    return _read(find_coco(images, annotations) or annotations, images)


def find_coco(root: Path, name: Path) -> Path | None:
    """Return the COCO file of a list, None without one.

    It is the file of this name, here or below ``root``, or what tools write for a list that is
    called so: ``train/_annotations.coco.json``, ``annotations/instances_train2017.json``,
    ``train.json``.

    Args:
        root: ``data.root``.
        name: ``data.train_split`` or ``data.test_split``.
    """
    given = [path for path in (name, root / name) if is_file(path)]
    if given or len(name.parts) > 1 or name.suffix:
        return next(iter(given), None)
    for word in names_of(str(name)):
        patterns = (
            f"{word}/_annotations.coco.json",
            f"{word}/annotations.json",
            f"annotations/instances_{word}[0-9]*.json",
            f"annotations/instances_{word}.json",
            f"annotations/{word}.json",
            f"{word}.json",
        )
        found = (path for pattern in patterns for path in sorted(root.glob(pattern)))
        if path := next(found, None):
            return path
    return None


def find_whole_coco(root: Path) -> Path | None:
    """Return the only COCO file of a folder that has none of the usual lists, None without one.

    CVAT calls it ``annotations/instances_default.json``, Label Studio ``result.json``.

    Args:
        root: ``data.root``.
    """
    if any(find_coco(root, Path(name)) for name in ("trainval", "test")):
        return None
    paths = [*root.glob("*.json"), *root.glob("annotations/*.json")]
    paths += root.glob("*/_annotations.coco.json")
    if len(paths) > _MOST_FILES:
        return None  # a file for each image, as LabelMe writes them
    found = [path for path in paths if not path.name.startswith(".") and _looks_like_coco(path)]
    # CVAT writes further files for keypoints, captions and persons
    instances = [path for path in found if path.name.startswith("instances_")]
    found = instances or found
    return found[0] if len(found) == 1 else None


def _looks_like_coco(path: Path) -> bool:
    """Return whether the beginning of a JSON file has one of COCO's lists."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return (
        head.lstrip()[:1] == b"{"
        and re.search(rb'"(images|annotations)"\s*:\s*\[', head) is not None
    )


_MOST_FILES = 50
"""JSON files that are looked at."""

_HEAD = 1 << 20
"""Bytes of a JSON file that are looked at to tell what it is."""


def image_folder(coco: CocoFile, root: Path) -> Path:
    """Return the folder that a COCO file's names start from.

    It is ``root``, unless the first images are not there and are in one of the other places where
    tools put them: beside the JSON file, or in a folder ``images``, or one called like the file.

    Args:
        coco: the file.
        root: ``data.root``.
    """
    names = [image.file_name for image in coco.images[:_LOOKED_AT]]
    places = _places(coco.path, root)
    found = (place for place in places if any(is_file(place / name) for name in names))
    return next(found, root)


def _places(path: Path, root: Path) -> list[Path]:
    """Return the folders where the images of a COCO file may be, the likeliest first."""
    stem = path.stem.removeprefix("instances_").removeprefix("_annotations.")
    beside, images = path.parent, root / "images"
    return [root, beside, beside / "images", images, root / stem, images / stem]


def plain_path(file_name: str) -> str:
    """Return the path of an image below the images' folder, with slashes.

    Raises:
        DataError: for a path that leads elsewhere.
    """
    parts = PurePosixPath(file_name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in file_name or "\0" in file_name:
        message = (
            f"expected a file below the images' folder, got {file_name[:80]!r}; write "
            f"{parts.name[:80]!r}, or the path from the folder of the images"
        )
        raise DataError(message)
    return str(parts)


def is_file(path: Path) -> bool:
    """Return whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


_LOOKED_AT = 20
"""Images that are looked for: the first one may be the one that is missing."""


class _Tables:
    """Gathers the entries that are right and the problems of the others."""

    def __init__(self, path: Path, content: Mapping[str, Any], root: Path) -> None:
        self.path = path
        self.finder = Finder(_places(path, root))
        self.content = content
        self.issues: list[AnnotationIssue] = []
        self.used = _used_categories(content.get("annotations"))
        self.failed_images: set[Identifier] = set()
        self.categories: dict[Identifier, str] = {}
        self.images: dict[Identifier, CocoImage] = {}
        self.objects: dict[Identifier, list[FoundObject]] = {}
        self.annotations: list[dict[str, Any]] = []
        self.image_ids: set[str] = set()
        self.annotation_ids: set[Identifier] = set()
        self.unread: Counter[str] = Counter()

    def read(self, table: str, add: Callable[[dict[str, Any], str], None]) -> None:
        """Hand each entry of a table to ``add``, and note what is wrong with it."""
        entries = self.content.get(table)
        if not isinstance(entries, list):
            message = f"{self.path}: expected a list {table!r}, got {_type(entries)}; not COCO"
            raise DataError(message)
        for number, entry in enumerate(entries, start=1):
            location = f"{self.path}: {table}[{number}]"
            try:
                if not isinstance(entry, dict):
                    message = f"expected an object, got {_type(entry)}"
                    raise DataError(message)
                if "id" in entry:
                    location = f"{self.path}: {_SINGULAR[table]} {entry['id']!r:.60}"
                add(entry, location)
            except DataError as error:
                self.issues.append(
                    AnnotationIssue(
                        kind=f"bad {_SINGULAR[table]}",
                        location=location,
                        what=str(error),
                        action="stop",
                    )
                )

    def add_category(self, entry: dict[str, Any], _: str) -> None:
        """Take a category."""
        identifier, name = _identifier(entry, "id"), composed(_text(entry, "name").strip())
        _require_new(identifier, self.categories, "id")
        alike = [key for key, other in self.categories.items() if other == name]
        if alike and identifier not in self.used:
            return  # such as the root category that some tools write, which no object is of
        for key in alike:
            if key not in self.used:
                del self.categories[key]
        _require_new(name, self.categories.values(), "name")
        self.categories[identifier] = name

    def add_image(self, entry: dict[str, Any], location: str) -> None:
        """Take an image."""
        identifier = _identifier(entry, "id")
        _require_new(str(identifier), self.image_ids, "id")  # 1 and "1" would be one image
        self.image_ids.add(str(identifier))
        self.failed_images.add(identifier)  # until its entry is read to its end
        file_name = self._file_name(_text(entry, "file_name"), location)
        sides = [_length(entry.get(side)) for side in ("height", "width")]
        size = (sides[0], sides[1]) if min(sides) > 0 else None
        self.failed_images.remove(identifier)
        self.images[identifier] = CocoImage(image_id=identifier, file_name=file_name, size=size)

    def _file_name(self, text: str, location: str) -> str:
        """Return the path of an image; one of another machine is looked for here by its end.

        Raises:
            DataError: if it leads out of the images' folder and is not found there either.
        """
        try:
            return plain_path(text)
        except DataError:
            found = self.finder.find(text)
            if found is None:
                raise
            self._note_place(text, found, location)
            return found

    def find_images(self) -> None:
        """Look by the ends of their paths for images of which none is where its name says."""
        first = list(self.images.values())[:_LOOKED_AT]
        places = self.finder.places
        if any(is_file(place / image.file_name) for place in places for image in first):
            return
        for key, image in self.images.items():
            found = self.finder.find(image.file_name)
            if found is not None:
                self._note_place(image.file_name, found, f"{self.path}: image {key!r:.60}")
                self.images[key] = replace(image, file_name=found)

    def _note_place(self, text: str, found: str, location: str) -> None:
        what = f"expected a file below the images' folder, got {text[:80]!r}; {found!r} is read"
        self.issues.append(
            AnnotationIssue(
                kind="path of another machine", location=location, what=what, action="note"
            )
        )

    def add_object(self, entry: dict[str, Any], location: str) -> None:
        """Take an annotation."""
        if "id" in entry:
            identifier = _identifier(entry, "id")
            _require_new(identifier, self.annotation_ids, "id")
            self.annotation_ids.add(identifier)
        image_id, category_id = _identifier(entry, "image_id"), _identifier(entry, "category_id")
        if image_id in self.failed_images:
            return  # what is wrong is said of the image
        for key, table, what in (
            (image_id, self.images, "image_id"),
            (category_id, self.categories, "category_id"),
        ):
            if key not in table:
                message = (
                    f"expected {what} to be one that the file lists, got {shown(key)}; correct it"
                )
                raise DataError(message)
        crowd = entry.get("iscrowd", 0)
        if crowd not in (0, 1):
            message = f"expected iscrowd 0 or 1, got {shown(crowd)}; correct it"
            raise DataError(message)
        corners = _corners(entry.get("bbox"))
        self._note_flags(entry, location)
        self.annotations.append(_as_it_stands(entry))
        self.unread.update(words for key, words in _UNREAD.items() if entry.get(key))
        self.objects.setdefault(image_id, []).append(
            FoundObject(
                location=location,
                class_name=self.categories[category_id],
                corners=corners,
                difficult=bool(crowd),
                crowd=bool(crowd),
            )
        )

    def _note_flags(self, entry: Mapping[str, Any], location: str) -> None:
        """Count what makes an object count otherwise than one may expect."""

        def note(kind: str, what: str) -> None:
            self.issues.append(
                AnnotationIssue(kind=kind, location=location, what=what, action="note")
            )

        if entry.get("iscrowd"):
            note("crowd", "expected a single object, got a crowd; read as difficult")
        elif entry.get("ignore"):
            what = (
                "expected iscrowd 1 for an object that is not to be counted, got ignore, which "
                "COCO's measure passes over; read as an ordinary object"
            )
            note("ignore flag", what)
        if entry.get("id") == 0:
            what = "expected an id from 1, got 0: pycocotools never counts it as found; renumber"
            note("annotation 0", what)


def _used_categories(table: object) -> set[Identifier]:
    """Return the categories that objects are of, whatever else is wrong with these."""
    rows = table if isinstance(table, list) else []
    named = (row.get("category_id") for row in rows if isinstance(row, dict))
    return {identifier for identifier in named if isinstance(identifier, int | str)}


def _length(value: object) -> int:
    """Return a whole number of pixels, also of 160.0 and "160"; 0 for anything else."""
    if isinstance(value, str) and value.strip().isascii():
        try:
            value = float(value)
        except ValueError:
            return 0
    if not _is_number(value):
        return 0
    return int(value) if value == int(value) else 0  # type: ignore[call-overload]


def _as_it_stands(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what COCO's measure reads of an annotation that was checked."""
    bbox, area = entry["bbox"], entry.get("area")
    return {
        "id": entry.get("id"),
        "image_id": entry["image_id"],
        "category_id": entry["category_id"],
        "bbox": bbox,
        "area": area if _is_number(area) else bbox[2] * bbox[3],
        "iscrowd": int(entry.get("iscrowd", 0)),
    }


def _read(path: Path, root: Path) -> CocoFile:
    tables = _Tables(path, _load(path), root)
    tables.read("categories", tables.add_category)
    tables.read("images", tables.add_image)
    tables.find_images()
    tables.read("annotations", tables.add_object)
    if not tables.images and not tables.issues:
        what = "expected at least one image, got none; list the images"
        tables.issues.append(
            AnnotationIssue(kind="empty list", location=str(path), what=what, action="stop")
        )
    ordered = sorted(tables.categories, key=lambda key: (isinstance(key, str), key))
    return CocoFile(
        path=path,
        categories={identifier: tables.categories[identifier] for identifier in ordered},
        images=tuple(tables.images.values()),
        objects=tables.objects,
        annotations=tuple(tables.annotations),
        issues=tuple(tables.issues),
        unread=dict(tables.unread),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_file(path))
    except json.JSONDecodeError as error:
        message = (
            f"{path}: line {error.lineno}, column {error.colno}: expected JSON, got {error.msg}; "
            "write the file again"
        )
        raise DataError(message) from error
    except (ValueError, RecursionError) as error:
        message = f"{path}: expected JSON, got {error}; write the file again"
        raise DataError(message) from error
    if not isinstance(content, dict):
        message = f"{path}: expected images, annotations and categories, got {_type(content)}"
        raise DataError(message)
    return content


def _identifier(entry: Mapping[str, Any], key: str) -> Identifier:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str) or not _is_unicode(value):
        message = f"expected a number or a text as {key}, got {_type(value)}; correct it"
        raise DataError(message)
    return value


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip() or not _is_unicode(value):
        message = f"expected a text as {key}, got {_type(value)}; correct it"
        raise DataError(message)
    return value


def _require_new(value: Identifier, seen: Collection[Identifier], what: str) -> None:
    if value in seen:
        message = f"expected a new {what}, got {shown(value)} again; remove one"
        raise DataError(message)


def _corners(bbox: object) -> Corners:
    """Turn x, y, width, height into corners."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        message = (
            f"expected bbox as four numbers x, y, width, height, got {str(bbox)[:80]}; correct it"
        )
        raise DataError(message)
    x, y, width, height = map(float, bbox)
    return x, y, x + width, y + height


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e12


def _type(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


def _is_unicode(value: Identifier) -> bool:
    """Return whether a text is valid Unicode: JSON can spell lone surrogates."""
    return not isinstance(value, str) or not any("\ud800" <= c <= "\udfff" for c in value)


_SINGULAR = {"categories": "category", "images": "image", "annotations": "annotation"}
