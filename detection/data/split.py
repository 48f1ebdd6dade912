"""Divide a data set that came without lists: by its folders, or by a seeded draw."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Set
from pathlib import Path

from detection.errors import DataError, shown
from detection.words import counted

_LOG = logging.getLogger(__name__)

Parts = Mapping[str, tuple[str, ...]]
"""Name of a list -> identifiers, in order."""

Objects = Mapping[str, Collection[tuple[str, bool]]]
"""Identifier of an image -> class of each object, and whether it is difficult."""

LISTS = "split.json"
"""The file in a run folder that keeps the lists which were drawn for it."""

_SAID: set[tuple[str, str]] = set()
"""Files and roots whose new images have been counted: once a process is enough."""

_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


_FALLBACKS = {
    "trainval": ("train",),
    "test": ("val", "valid", "validation"),
}


def names_of(split: str) -> tuple[str, ...]:
    """Return what a list may be called: its name, and other words for the two default names."""
    return (split, *_FALLBACKS.get(split, ()))


def sole_list(names: Iterable[str]) -> str | None:
    """Return the one list of a folder that has no usual ones, None where there are several.

    VOC's lists of single classes, ``cat_default`` beside ``default``, are not counted.

    Args:
        names: of the lists.
    """
    every = set(names)
    usual = {name for names in _NAMES.values() for name in names} | {"trainval"}
    own = {name for name in every if not any(name.endswith(f"_{other}") for other in every)}
    return own.pop() if len(own) == 1 and not own & usual else None


def parts_of(lists: str, root: Path, objects: Objects) -> tuple[Parts, str]:
    """Return the lists of a folder that brings none, and how they came about in words.

    Args:
        lists: the file of lists that were drawn before; empty draws.
        root: the folder.
        objects: of every image.

    Raises:
        DataError: if the file cannot be read, or an image that it names is gone.
    """
    stored = stored_parts(Path(lists), root, objects) if lists else None
    if stored is not None:
        return stored, f"divided as {lists} says"
    return seeded_parts(counted_classes(objects)), "a fifth drawn to test on (seed 0)"


def stored_parts(path: Path, root: Path, names: Mapping[str, object]) -> Parts | None:
    """Return the lists that a file keeps of a folder, None where it keeps none of it.

    A folder that was moved is known by its images. Images that are in no list stay out of all.

    Args:
        path: of the file.
        root: the folder.
        names: its images.

    Raises:
        DataError: if the file cannot be read, or an image that it names is gone.
    """
    every = read_lists(path)
    parts = next((own for key, own in every.items() if _same_place(key, root)), None)
    if parts is None:
        moved = [own for own in every.values() if all(n in names for p in own.values() for n in p)]
        if len(moved) != 1 or len(every) != 1:
            _LOG.warning("%s: no lists of %s in it: drawn anew", path, root)
            return None
        parts = moved[0]
    listed = {name: split for split, own in parts.items() for name in own}
    gone = next((name for name in listed if name not in names), None)
    if gone is not None:
        message = (
            f"{path}: {listed[gone]}: expected images of {root}, got {gone!r}, which is not there; "
            "bring it back or take it out of the list"
        )
        raise DataError(message)
    new = len(names) - len(listed)
    if new and (str(path), str(root)) not in _SAID:
        _SAID.add((str(path), str(root)))
        came = counted(new, "image")
        _LOG.warning("%s: %s came after %s was drawn: in no list", root, came, path)
    return parts


def read_lists(path: Path) -> dict[str, Parts]:
    """Read a file of drawn lists: root -> name of the list -> identifiers.

    Raises:
        DataError: if it cannot be read or is no such file.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        message = f"{path}: expected a file of drawn lists, got {error}; correct data.lists"
        raise DataError(message) from error
    if not _is_lists(content):
        message = (
            f"{path}: expected folder: {{trainval: [...], test: [...]}}, got {shown(content)}; "
            "correct data.lists"
        )
        raise DataError(message)
    return {
        root: {name: tuple(names) for name, names in parts.items()}
        for root, parts in content.items()
    }


def _is_lists(content: object) -> bool:
    """Return whether JSON is folder -> list -> names, none of them in two lists."""
    if not isinstance(content, dict) or not all(isinstance(p, dict) for p in content.values()):
        return False
    for parts in content.values():
        names = [name for own in parts.values() if isinstance(own, list) for name in own]
        if not all(isinstance(own, list) for own in parts.values()):
            return False
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            return False
    return True


def _same_place(first: str, second: Path) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def named_parts(paths: Mapping[str, str]) -> dict[str, tuple[str, ...]] | None:
    """Return the lists that folders called train, val or test make; None if they make none.

    ``trainval`` is all that is not tested on, and ``test`` is the val folder where there is no
    other.

    Args:
        paths: identifier -> path of the image, with ``/`` between its folders.
    """
    found: dict[str, list[str]] = {part: [] for part in _NAMES}
    for key, path in paths.items():
        folders = {folder.lower() for folder in path.split("/")[:-1]}
        part = next((p for p, names in _NAMES.items() if folders & set(names)), None)
        if part is None:
            return None
        found[part].append(key)
    if not found["train"] or not (found["val"] or found["test"]):
        return None
    tested = found["test"] or found["val"]
    learned = found["train"] + (found["val"] if found["test"] else [])
    parts = {**found, "trainval": learned, "test": tested}
    return {name: tuple(sorted(keys)) for name, keys in parts.items() if keys}


def counted_classes(objects: Objects) -> dict[str, set[str]]:
    """Return the classes that each image counts for when a data set is divided.

    Difficult objects make no image one of their class, as in VOC's lists of single classes: nobody
    is scored by them. Where a class has no others, they do, so that it is in the training list.

    Args:
        objects: of every image.
    """
    easy = {name for found in objects.values() for name, difficult in found if not difficult}
    return {
        key: {name for name, difficult in found if not difficult or name not in easy}
        for key, found in objects.items()
    }


def seeded_parts(
    classes: Mapping[str, Set[str]], *, fraction: float = 0.2, seed: int = 0
) -> dict[str, tuple[str, ...]]:
    """Return the lists ``trainval`` and ``test``, drawn so that both have objects of every class.

    The rarest classes are divided first. An image's place in the draw depends on its identifier
    and the seed alone, so that the order of the files does not matter.

    Args:
        classes: identifier -> the classes of its objects.
        fraction: of the images to test on.
        seed: of the draw.
    """
    images_of: dict[str, list[str]] = {}
    for key in sorted(classes, key=lambda key: _draw(key, seed)):
        for name in classes[key] or {""}:
            images_of.setdefault(name, []).append(key)
    tested: dict[str, bool] = {}
    for name in sorted(images_of, key=lambda name: (len(images_of[name]), name)):
        keys = images_of[name]
        wanted = max(round(fraction * len(keys)), len(keys) > 1)
        missing = wanted - sum(tested.get(key, False) for key in keys)
        for key in keys:
            if key not in tested:
                tested[key] = missing > 0
                missing -= tested[key]
    return {
        "trainval": tuple(sorted(key for key, test in tested.items() if not test)),
        "test": tuple(sorted(key for key, test in tested.items() if test)),
    }


def _draw(key: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {key}".encode()).digest()
