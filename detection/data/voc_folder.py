"""The files of a folder in VOC layout: where they are and what its split lists say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from detection.data.images import EXTENSIONS, read_file
from detection.data.problems import Problem
from detection.errors import DataError

MAX_NAME = 200
"""Letters of an identifier; file systems end at 255 bytes."""

_MEMBERSHIP = {"1": True, "0": False, "-1": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class VocFolder:
    """A folder with ``JPEGImages``, ``Annotations`` and ``ImageSets/Main``.

    Attributes:
        path: the folder.
        images: stem -> file name in ``JPEGImages``.
    """

    path: Path
    images: Mapping[str, str]

    @property
    def name(self) -> str:
        """The folder's name, for example ``VOC2012``."""
        return self.path.name

    def image_path(self, image_id: str) -> Path:
        """Give the image's file; the usual name where there is none."""
        return self.path / "JPEGImages" / self.images.get(image_id, f"{image_id}.jpg")

    def annotation_path(self, image_id: str) -> Path:
        """Give the annotation's file."""
        return self.path / "Annotations" / f"{image_id}.xml"

    def split_path(self, split: str) -> Path:
        """Give the split's list."""
        return self.path / "ImageSets" / "Main" / f"{split}.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The image ids of a split, in the order of its list, and what was wrong with the list."""

    image_ids: tuple[str, ...]
    problems: tuple[Problem, ...]


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
    found = [root] if _is_voc(root) else []
    for devkit in (root, root / "VOCdevkit"):
        if not found and devkit.is_dir():
            pattern = f"VOC{year}" if year else "VOC*"
            found = sorted(path for path in devkit.glob(pattern) if _is_voc(path))
    if len(found) != 1:
        wanted = f"VOC{year}" if year else "one VOC<year> folder"
        names = ", ".join(path.name for path in found) or "none"
        message = (
            f"{root}: expected {wanted} with JPEGImages, Annotations and ImageSets/Main, got "
            f"{names}; set data.root or data.year"
        )
        raise DataError(message)
    return VocFolder(path=found[0], images=_index_images(found[0] / "JPEGImages"))


def _is_voc(path: Path) -> bool:
    parts = ("JPEGImages", "Annotations", "ImageSets/Main")
    return all((path / part).is_dir() for part in parts)


def _index_images(folder: Path) -> dict[str, str]:
    """Map stems to file names; of several with one stem, the earliest in EXTENSIONS."""
    rank = {extension: number for number, extension in enumerate(EXTENSIONS)}
    best: dict[str, tuple[int, str]] = {}
    for name in os.listdir(folder):  # noqa: PTH208 - a Path for each of 20,000 files is slow
        stem, extension = os.path.splitext(name)  # noqa: PTH122
        candidate = (rank.get(extension.lower(), len(rank)), name)
        if candidate[0] < len(rank) and candidate < best.get(stem, (len(rank), "")):
            best[stem] = candidate
    return {stem: name for stem, (_, name) in best.items()}


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
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), start=1):
        image_id, problem = _read_line(line.strip(), f"{path}: line {number}", folder.images)
        if image_id in image_ids:
            what = f"expected each image once, got {image_id!r} again; counted once"
            problem = Problem(
                kind="duplicate in the list",
                place=f"{path}: line {number}",
                what=what,
                action="note",
            )
        if image_id is not None:
            image_ids[image_id] = None
        if problem is not None:
            problems.append(problem)
    if not image_ids and all(problem.action != "stop" for problem in problems):
        what = "expected at least one image, got none; list the images, one identifier a line"
        problems.append(Problem(kind="empty list", place=str(path), what=what, action="stop"))
    return Split(image_ids=tuple(image_ids), problems=tuple(problems))


def _read_line(
    line: str, place: str, images: Mapping[str, str]
) -> tuple[str | None, Problem | None]:
    """Give the line's identifier, or what is wrong with it; neither for a blank line."""
    columns = line.split()
    if len(columns) == 2 and columns[1] in _MEMBERSHIP and line not in images:
        if not _MEMBERSHIP[columns[1]]:
            what = f"expected 1 in the second column, got {columns[1]}; the image is left out"
            return None, Problem(kind="listed as absent", place=place, what=what, action="note")
        line = columns[0]
    if line in {".", ".."} or any(mark in line for mark in "/\\:\0") or len(line) > MAX_NAME:
        what = f"expected a plain identifier, got {line[:60]!r}; write the file's stem"
        return None, Problem(kind="bad identifier", place=place, what=what, action="stop")
    return line or None, None
