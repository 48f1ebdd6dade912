"""Read boxes from a CSV file, one object a row."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detection.data.annotations import FoundObject
from detection.data.coco_file import CocoFile, CocoImage, Identifier, is_file, plain_path
from detection.data.image_files import EXTENSIONS, is_image_name
from detection.data.issues import AnnotationIssue, Corners, composed
from detection.data.label_tables import fault, read_text, to_coco
from detection.data.roots import require_folder
from detection.data.split import names_of
from detection.errors import DataError, shown
from detection.values import Size

_NAMES = {
    "file": ("filename", "file", "image", "path", "image_path", "image_id"),
    "xmin": ("xmin", "x1", "left", "x_min"),
    "ymin": ("ymin", "y1", "top", "y_min"),
    "xmax": ("xmax", "x2", "right", "x_max"),
    "ymax": ("ymax", "y2", "bottom", "y_max"),
    "class": ("class", "label", "name", "class_name", "category"),
    "width": ("width",),
    "height": ("height",),
    "difficult": ("difficult",),
}
"""Column -> what tools call it, the first name that is there holds."""

_NEEDED = ("file", "xmin", "ymin", "xmax", "ymax", "class")
"""The columns that a file has to have, in their order where it has no header."""

_BOX = _NEEDED[1:5]

_FALSE = ("", "0", "0.0", "false", "no")
_TRUE = ("1", "1.0", "true", "yes")


def open_csv(root: Path, split: str) -> CocoFile:
    """Read a CSV file of boxes as the tables of a COCO file.

    A row is an object: its file, its corners in continuous pixels, its class. A row without corners
    and class is an image without objects. Classes are numbered from 1, sorted. Faults of single
    rows are listed in ``issues``.

    Args:
        root: the folder of the CSV file, which the files of the images start from; they may also
            lie beside the CSV file, or in ``images``, ``<split>`` or ``images/<split>``.
        split: its file is ``<split>.csv``, ``<split>_labels.csv``, ``annotations_<split>.csv`` or
            ``<split>/_annotations.csv``. ``trainval`` also takes ``train``, and ``test`` what is
            called ``val``, ``valid`` or ``validation``.

    Raises:
        DataError: if there is no such file, or it lacks a column.
    """
    require_folder(root)
    return _open(root, *find_csv(root, split))


def open_whole_csv(root: Path) -> CocoFile | None:
    """Read the only CSV file of a folder without lists; None where there are lists, or no file.

    Raises:
        DataError: if it lacks a column.
    """
    path = find_whole_csv(root)
    return None if path is None else _open(root, path, path.stem)


def _open(root: Path, path: Path, name: str) -> CocoFile:
    file = path.relative_to(root).as_posix()
    rows, issues = _read_rows(path, file)
    names = sorted({row.class_name for row in rows if row.class_name})
    images = _to_images(rows, _places(root, path, name))
    objects: dict[Identifier, list[FoundObject]] = {}
    for row in rows:
        if row.corners is not None:
            objects.setdefault(images[row.file].image_id, []).append(
                FoundObject(
                    location=row.location,
                    class_name=row.class_name,
                    corners=row.corners,
                    difficult=row.difficult,
                )
            )
    categories: dict[Identifier, str] = dict(enumerate(names, start=1))
    return to_coco(path, categories, list(images.values()), objects, issues)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A row: an object, or without corners an image only.

    Attributes:
        location: what to call the row.
        file: the path of the image as written, with slashes.
        corners: xmin ymin xmax ymax; None for an image only.
        class_name: empty for an image only.
        size: the stated (height, width) of the image.
        difficult: as stated.
    """

    location: str
    file: str
    corners: Corners | None
    class_name: str
    size: Size | None
    difficult: bool


# ------------------------------------------------------------------------------ files


def find_csv(root: Path, split: str) -> tuple[Path, str]:
    """Return the CSV file of a split, and the name of the split that it was found under.

    Raises:
        DataError: if there is none.
    """
    for name in names_of(split):
        given = [name] if name.endswith(".csv") else []
        usual = (f"{name}.csv", f"{name}_labels.csv", f"annotations_{name}.csv")
        for file in (*given, *usual, f"{name}/_annotations.csv"):
            if ".." not in Path(file).parts and is_file(root / file):
                return root / file, name.removesuffix(".csv")
    there = ", ".join(sorted(path.name for path in root.glob("*.csv"))[:20]) or "none"
    message = (
        f"{root}: expected {split}.csv, {split}_labels.csv, annotations_{split}.csv or "
        f"{split}/_annotations.csv, got no such file; the CSV files are: {there}"
    )
    raise DataError(message)


def find_whole_csv(root: Path) -> Path | None:
    """Return the only CSV file of boxes in a folder that has none of the usual lists."""
    for split in ("trainval", "test"):
        try:
            find_csv(root, split)
        except DataError:
            continue
        return None
    paths = [path for path in root.glob("*.csv") if not path.name.startswith(".")]
    found = [path for path in paths if _has_boxes(path)]
    return found[0] if len(found) == 1 else None


def _has_boxes(path: Path) -> bool:
    """Return whether the first row of a file names columns of boxes, or is a box."""
    try:
        _, _, cells = next(_cells(path), (0, "", []))
    except DataError:
        return False
    if len(cells) < len(_NEEDED):
        return False
    return _is_header(cells) or all(re.fullmatch(r"-?[0-9.,]+", cell) for cell in cells[1:5])


def _places(root: Path, path: Path, name: str) -> list[tuple[str, Path]]:
    """Return the folders that hold the images, and how each is called from the root."""
    beside = path.parent.relative_to(root).as_posix().removeprefix(".")
    names = ("", beside, "images", name, f"images/{name}", f"{beside}/images")
    return [(folder, root / folder) for folder in dict.fromkeys(names)]


_LOOKED_AT = 20
"""Images that are looked for: the first one may be the one that is missing."""


def _to_images(rows: Sequence[_Row], places: Sequence[tuple[str, Path]]) -> dict[str, CocoImage]:
    """Return the images by file, in the order of their first rows, with the sizes they state."""
    sizes: dict[str, Size | None] = {}
    for row in rows:
        sizes[row.file] = sizes.get(row.file) or row.size
    first = list(sizes)[:_LOOKED_AT]
    holding = (p for p in places if any(_spelling(p[1], file) is not None for file in first))
    folder, path = next(holding, places[0])
    stems = {file: file.removesuffix(_suffix(file)) for file in sizes}
    ids = stems if len(set(stems.values())) == len(stems) else {file: file for file in sizes}
    prefix = f"{folder}/" if folder else ""
    return {
        file: CocoImage(
            image_id=ids[file], file_name=prefix + (_spelling(path, file) or file), size=size
        )
        for file, size in sizes.items()
    }


def _suffix(file: str) -> str:
    return Path(file).suffix if is_image_name(Path(file).name) else ""


def _spelling(folder: Path, file: str) -> str | None:
    """Return the path of an image that is there, with the extension that a file may leave out."""
    if is_file(folder / file):
        return file
    endings = () if _suffix(file) else EXTENSIONS
    return next((file + end for end in endings if is_file(folder / (file + end))), None)


# ------------------------------------------------------------------------------ rows


def _read_rows(path: Path, file: str) -> tuple[list[_Row], list[AnnotationIssue]]:
    """Return the rows that are right and the issues of the others.

    Raises:
        DataError: if the file is no CSV or lacks a column.
    """
    rows: list[_Row] = []
    issues: list[AnnotationIssue] = []
    failed: set[str] = set()
    columns: Mapping[str, int] | None = None
    decimal_comma = False
    for number, delimiter, cells in _cells(path):
        if columns is None:
            columns, decimal_comma = _columns(cells, f"{path}: line {number}"), delimiter == ";"
            if _is_header(cells):
                continue
        location = f"{file}: line {number}"
        try:
            entry = _entry(cells, columns)
            image = _image_of(entry["file"], location, failed, issues)
            if image is not None:
                rows.append(_row(entry, image, location, decimal_comma=decimal_comma))
        except DataError as error:
            issues.append(fault("bad row", location, str(error)))
    return rows, issues


def _cells(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Return the line, the delimiter and the stripped cells of each row that is not blank.

    Raises:
        DataError: if the file is no CSV; a quote that is never closed would swallow all that
            follows.
    """
    text = read_text(path)
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, delimiter, cells
    except csv.Error as error:
        message = f"{path}: line {reader.line_num}: expected CSV, got an error: {error}; correct it"
        raise DataError(message) from error


def _delimiter(text: str) -> str:
    """Return the delimiter of the first line: comma, semicolon or tab."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    try:
        return csv.Sniffer().sniff(first, delimiters=",;\t").delimiter
    except csv.Error:
        return max(",;\t", key=first.count)


def _is_header(cells: Sequence[str]) -> bool:
    """Return whether a first row names columns; of a row of values, two may be such words."""
    words = {cell.lower() for cell in cells}
    return sum(not words.isdisjoint(names) for names in _NAMES.values()) >= 3


def _columns(cells: Sequence[str], location: str) -> dict[str, int]:
    """Return column -> position, by the header or in the usual order.

    Raises:
        DataError: if a header lacks a column.
    """
    if not _is_header(cells):
        return {column: position for position, column in enumerate(_NEEDED)}
    words = [cell.lower() for cell in cells]
    found = {
        column: next(words.index(name) for name in names if name in words)
        for column, names in _NAMES.items()
        if any(name in words for name in names)
    }
    missing = [column for column in _NEEDED if column not in found]
    if missing:
        message = (
            f"{location}: expected a column {' and one '.join(missing)}, got {shown(list(cells))}; "
            f"rename a column, {missing[0]} is one of {', '.join(_NAMES[missing[0]])}"
        )
        raise DataError(message)
    return found


def _entry(cells: Sequence[str], columns: Mapping[str, int]) -> dict[str, str]:
    """Return column -> text of a row.

    Raises:
        DataError: if the row is too short.
    """
    if len(cells) <= max(columns[column] for column in _NEEDED):
        message = f"expected {', '.join(columns)}, got {len(cells)} columns; correct the row"
        raise DataError(message)
    return {c: cells[position] for c, position in columns.items() if position < len(cells)}


def _image_of(
    file: str, location: str, failed: set[str], issues: list[AnnotationIssue]
) -> str | None:
    """Return the path of an image; what is wrong with it is said once.

    Raises:
        DataError: if the row names none.
    """
    if not file:
        message = "expected the file of an image, got nothing; correct the row"
        raise DataError(message)
    if file in failed:
        return None
    try:
        return plain_path(file)
    except DataError as error:
        failed.add(file)
        issues.append(fault("bad image", location, str(error)))
        return None


def _row(entry: Mapping[str, str], file: str, location: str, *, decimal_comma: bool) -> _Row:
    """Read a row.

    Raises:
        DataError: if a corner is no number or the class is missing.
    """
    size = (_length(entry.get("height", "")), _length(entry.get("width", "")))
    corners = None
    if any(entry[column] for column in (*_BOX, "class")):
        xmin, ymin, xmax, ymax = (_number(entry, column, decimal_comma) for column in _BOX)
        corners = (xmin, ymin, xmax, ymax)
        if not entry["class"]:
            message = "expected a class, got nothing; name it, or remove the box too"
            raise DataError(message)
    return _Row(
        location=location,
        file=file,
        corners=corners,
        class_name=composed(entry["class"]),
        size=size if min(size) > 0 else None,
        difficult=_truth(entry.get("difficult", "")),
    )


def _number(entry: Mapping[str, str], column: str, decimal_comma: bool) -> float:
    text = entry[column]
    try:
        value = float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e12:
        message = f"expected a number as {column}, got {text[:40]!r}; correct the row"
        raise DataError(message)
    return value


def _length(text: str) -> int:
    """Return a whole number of pixels, also of 160.0; 0 for anything else."""
    try:
        value = float(text)
    except ValueError:
        return 0
    return int(value) if abs(value) < 1e9 and value == int(value) else 0


def _truth(text: str) -> bool:
    if text.lower() not in _FALSE + _TRUE:
        message = f"expected difficult as 0 or 1, got {text[:40]!r}; correct the row"
        raise DataError(message)
    return text.lower() in _TRUE
