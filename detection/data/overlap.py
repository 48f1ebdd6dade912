"""Images that are the same file, whatever they are called: by location and by content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from detection.errors import ImageError
from detection.io.files import sha256_of_file

FileIdentity = tuple[int, int]
"""Device and number of a file: the same through links and other spellings of a path."""


def shared_files(first: Iterable[Path], second: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Return the pairs of one file in both lists: in the same location, or with the same content.

    Only files of equal length are read. One that is not there is in no pair.

    Args:
        first: files of one list.
        second: files of the other.
    """
    by_identity: dict[FileIdentity, Path] = {}
    lengths: dict[int, list[Path]] = {}
    for path, identity, length in _stated(first):
        by_identity.setdefault(identity, path)
        lengths.setdefault(length, []).append(path)
    contents: dict[int, dict[str, Path]] = {}
    pairs = []
    for path, identity, length in _stated(second):
        twin = by_identity.get(identity)
        if twin is None and length in lengths:
            if length not in contents:
                contents[length] = dict(_digests(lengths[length]))
            twin = next((contents[length].get(digest) for digest, _ in _digests([path])), None)
        if twin is not None:
            pairs.append((twin, path))
    return pairs


def identity_of(path: Path) -> FileIdentity | None:
    """Return the identity of a file; None if there is no such file."""
    return next((identity for _, identity, _ in _stated([path])), None)


def _stated(paths: Iterable[Path]) -> Iterator[tuple[Path, FileIdentity, int]]:
    for path in paths:
        try:
            status = path.stat()
        except (OSError, ValueError):
            continue
        yield path, (status.st_dev, status.st_ino), status.st_size


def _digests(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        try:
            yield sha256_of_file(path), path
        except ImageError:
            continue
