"""The check of some images of a list, small enough to be sent to a worker."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import PIL

from detection.data.annotations import UNREADABLE, CheckedImage
from detection.data.coco_examine import examine_coco
from detection.data.coco_file import CocoFile, CocoImage
from detection.data.image_files import read_file, require_whole
from detection.data.issues import Action, AnnotationIssue, Rules
from detection.data.tally import Tally
from detection.data.voc_examine import examine
from detection.data.voc_folder import VocFolder
from detection.errors import ImageError
from detection.io.files import sha256_of_bytes
from detection.io.parallel import parallel_map
from detection.io.progress import track
from detection.io.shards import Parallel, Row, file_key, run_shards
from detection.version import VERSION

_WORTH_PROCESSES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some images of a list.

    Attributes:
        source: the tables of these images alone.
        items: the images.
        root: what file names start from.
        max_pixels: a larger image is an issue.
        decode: decode every image too.
    """

    source: VocFolder | CocoFile
    items: Sequence[str] | Sequence[CocoImage]
    root: Path
    max_pixels: int
    decode: bool


def check_parts(parts: Sequence[Part], name: str, workers: int) -> Iterator[Tally]:
    """Yield what was found in each part, in order; in processes where they are many.

    Args:
        parts: of a list.
        name: of the list.
        workers: processes; 0 takes one per core.
    """
    names = [f"part {number} of {name}" for number, _ in enumerate(parts, start=1)]
    few = len(parts) < _WORTH_PROCESSES
    results = parallel_map(check_part, parts, workers=1 if few else workers, names=names)
    tallies = dict(track(results, len(parts), f"check {name}"))
    return (tallies.pop(number) for number in range(len(parts)))


def check_shards(
    parts: Sequence[Part], name: str, parallel: Parallel, folder: Path
) -> Iterator[Tally]:
    """Yield the same from workers, which may have other folders, and from shards that are there.

    Args:
        parts: of a list; each is a shard.
        name: of the list.
        parallel: where the workers are.
        folder: of the shards, which nothing else uses.
    """
    rows = run_shards(
        check_rows,
        [_absolute(part) for part in parts],
        [_key(part) for part in parts],
        folder,
        fingerprint=json.dumps(["check", VERSION, PIL.__version__]),
        parallel=replace(parallel, images=1),
        description=f"check {name}",
    )
    for part, row in zip(parts, rows, strict=True):
        place = _place(part)
        called = "" if place == Path() else f"{place}{os.sep}"
        yield Tally.from_row(row).renamed(f"{place.absolute()}{os.sep}", called)


def check_rows(parts: Sequence[Part]) -> Iterable[Row]:
    """Return a row for each part; called in a worker."""
    return [check_part(part).to_row() for part in parts]


def _place(part: Part) -> Path:
    """Return the folder in the messages of a part."""
    return part.source.path if isinstance(part.source, VocFolder) else part.root


def _absolute(part: Part) -> Part:
    source = part.source
    if isinstance(source, VocFolder):
        source = replace(source, path=source.path.absolute())
    return replace(part, source=source, root=part.root.absolute())


def _key(part: Part) -> str:
    """Return what the tally of a part depends on: its tables, its files as they are."""
    if isinstance(part.source, VocFolder):
        ids = cast("Sequence[str]", part.items)
        paths = [part.source.image_path(key) for key in ids]
        paths += [part.source.annotation_path(key) for key in ids]
    else:
        paths = [part.root / image.file_name for image in cast("Sequence[CocoImage]", part.items)]
    return sha256_of_bytes(json.dumps([repr(part), *map(file_key, paths)]).encode())


def check_part(part: Part) -> Tally:
    """Return what was found in a part."""
    tally = Tally()
    for item in _examine_part(part):
        tally.add_image(item)
        unreadable = any(issue.kind == UNREADABLE for issue in item.issues)
        if unreadable or item.size is None:
            continue
        height, width = item.size
        if height * width > part.max_pixels:
            what = f"expected at most {part.max_pixels:,} pixels, got {width} x {height}; shrink it"
            tally.add(issue_of("image too large", str(item.path), what, "stop"))
        elif part.decode:
            _decode(item.path, tally, part.max_pixels)
    return tally


def issue_of(kind: str, location: str, what: str, action: Action) -> AnnotationIssue:
    """Return an issue."""
    return AnnotationIssue(kind=kind, location=location, what=what, action=action)


def _examine_part(part: Part) -> Iterator[CheckedImage]:
    rules = Rules(strict=True)
    if isinstance(part.source, VocFolder):
        return examine(part.source, cast("Sequence[str]", part.items), rules)
    images = cast("Sequence[CocoImage]", part.items)
    return examine_coco(part.source, part.root, images, rules)


def _decode(path: Path, tally: Tally, max_pixels: int) -> None:
    try:
        data = read_file(path)
        require_whole(data, str(path), max_pixels)
    except ImageError as error:
        what = str(error).removeprefix(f"{path}: ")
        tally.add(issue_of("damaged image", str(path), what, "stop"))
    else:
        tally.contents.append((hashlib.blake2b(data, digest_size=16).digest(), str(path)))
