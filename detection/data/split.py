"""Divide a data set that came without lists: by its folders, or by a seeded draw."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set

Parts = Mapping[str, tuple[str, ...]]
"""Name of a list -> identifiers, in order."""

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
