"""``data.json``: a fingerprint of the training data, so that a run is not resumed on other data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from detection.errors import DataError
from detection.io.files import write_json_atomic
from detection.io.reading import read_plain
from detection.structures import Dataset

NAME = "data.json"


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Return names, counts and a hash of every image's id, size, bytes and objects."""
    digest = hashlib.sha256()
    for record in dataset.records:
        truth = record.truth
        digest.update(f"{record.image_id} {truth.size} {num_bytes(record.path)}".encode())
        for values in (truth.boxes, truth.labels, truth.difficult):
            digest.update(repr(values.tolist()).encode())
    return {
        "split": dataset.split,
        "class_names": list(dataset.class_names),
        "num_images": len(dataset.records),
        "num_objects": sum(len(record.truth.labels) for record in dataset.records),
        "sha256": digest.hexdigest(),
    }


def require_same_data(folder: Path, described: dict[str, Any], *, override: bool = False) -> None:
    """Write ``data.json``; where an interrupted run left one, check that it is the same.

    Args:
        folder: of the run.
        described: what it is trained on now, as ``describe_data`` gives it.
        override: go on with other data.

    Raises:
        DataError: if the data changed, with what changed, or the file cannot be read or written.
    """
    path = Path(folder) / NAME
    if path.is_file() and not override:
        before = _read(path)
        changes = [
            f"{key}: {before.get(key)!r} -> {value!r}"
            for key, value in described.items()
            if before.get(key) != value
        ]
        if changes:
            message = (
                f"{folder}: expected the data that this run began with, got {'; '.join(changes)}; "
                "resume with the old data, or with --override"
            )
            raise DataError(message)
    write_json_atomic(path, described)


def num_bytes(path: Path) -> int:
    """Return a file's size, which reveals most replaced images cheaply; -1 if missing."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_plain(path, "JSON"))
    except (OSError, ValueError) as error:
        message = f"{path}: expected JSON, got {error}; resume with --override to write it anew"
        raise DataError(message) from error
    return values if isinstance(values, dict) else {}
