"""Checkpoints that survive: written atomically, the last two kept, each with its hash.

::

    checkpoints/step-00001000.pt
                step-00002000.pt
                manifest.json      which files, of which steps, with which SHA-256

Only plain values are written, so that ``torch.load(weights_only=True)`` reads them.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detection.errors import CheckpointError
from detection.io.files import (
    remove_leftovers,
    sha256_of_bytes,
    write_bytes_atomic,
    write_json_atomic,
)
from detection.io.reading import read_plain

_LOG = logging.getLogger(__name__)

KEPT = 2
"""How many checkpoints stay in a folder."""

_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What was saved.

    Attributes:
        step: how many steps had been done.
        state: the values, tensors on the CPU.
    """

    step: int
    state: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One line of the manifest."""

    file: str
    step: int
    sha256: str
    num_bytes: int


def save_checkpoint(folder: Path, state: Mapping[str, Any], step: int) -> Path:
    """Write a checkpoint; return its file. At every moment the folder holds a good one.

    Args:
        folder: of the checkpoints of one training; made where it is missing.
        state: tensors, numbers, texts, None, and lists, tuples and dictionaries of them.
        step: how many steps have been done.

    Raises:
        DataError: where the disk is full or the folder cannot be written; the old ones stay.
        TypeError: naming a value that could not be read again without running code.
    """
    folder = Path(folder)
    _check_plain(state, "state")
    # In memory first: the hash is that of what should be written, not of what a disk made of it.
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    data = buffer.getvalue()
    name, digest = f"step-{step:08d}.pt", sha256_of_bytes(data)
    entry = _Entry(file=name, step=step, sha256=digest, num_bytes=len(data))
    # First the file, then the manifest that names it, and only then are older files removed:
    # wherever this is cut short, the manifest names complete files only.
    write_bytes_atomic(folder / entry.file, data)
    others = [old for old in _entries(folder) if old.file != entry.file]
    kept = [*others, entry][-KEPT:]
    write_json_atomic(folder / _MANIFEST, [asdict(one) for one in kept])
    remove_leftovers(folder)
    for path in folder.glob("step-*.pt"):
        if path.name not in {one.file for one in kept}:
            path.unlink(missing_ok=True)
    return folder / entry.file


def load_latest(folder: Path) -> Checkpoint | None:
    """Read the last good checkpoint of a folder; None where nothing was ever saved.

    A damaged one is passed over with a warning, and so is a first one whose save was interrupted.

    Raises:
        CheckpointError: if there are checkpoints and none of them is good.
    """
    folder = Path(folder)
    problems = []
    for entry in reversed(_entries(folder)):
        try:
            return Checkpoint(step=entry.step, state=_read(folder / entry.file, entry))
        except CheckpointError as error:
            _LOG.warning("%s; the checkpoint before it is tried", error)
            problems.append(str(error))
    files = list(folder.glob("step-*.pt"))
    if len(files) == 1 and not (folder / _MANIFEST).exists():
        # The first save ended between its two files; there was nothing before it.
        _LOG.warning("%s: the first checkpoint was not finished; starting anew", files[0])
        return None
    if problems or files:
        reasons = "; ".join(problems) or f"no readable {_MANIFEST}"
        message = (
            f"{folder}: expected a good checkpoint, got none ({reasons}); start anew with "
            "--overwrite, or restore the files"
        )
        raise CheckpointError(message)
    return None


def _entries(folder: Path) -> list[_Entry]:
    """Read the manifest, oldest first; nothing where there is none or it is damaged."""
    try:
        rows = json.loads(read_plain(folder / _MANIFEST, "a list of checkpoints", CheckpointError))
        return [
            _Entry(
                file=Path(row["file"]).name,
                step=int(row["step"]),
                sha256=str(row["sha256"]),
                num_bytes=int(row.get("num_bytes", 0)),
            )
            for row in rows
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        _LOG.warning("%s: expected a list of checkpoints, got %s", folder / _MANIFEST, error)
        return []


def _read(path: Path, entry: _Entry) -> dict[str, Any]:
    """Read one file whose content must have the hash in the manifest."""
    try:
        data = read_plain(path, "a checkpoint", CheckpointError)
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}"
        raise CheckpointError(message) from error
    if len(data) < entry.num_bytes:
        message = f"{path}: truncated ({len(data):,} of {entry.num_bytes:,} bytes)"
        raise CheckpointError(message)
    if sha256_of_bytes(data) != entry.sha256:
        message = f"{path}: expected the content it was written with, got altered bytes"
        raise CheckpointError(message)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        message = f"{path}: expected a checkpoint, got {str(error).splitlines()[0]}"
        raise CheckpointError(message) from error
    return dict(state)


def _check_plain(value: Any, location: str) -> None:
    """Raise TypeError for anything that is not a tensor or plain data."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(item, f"{location}[{key!r}]")
    elif type(value) in {list, tuple}:
        for index, item in enumerate(value):
            _check_plain(item, f"{location}[{index}]")
    elif not isinstance(value, Tensor) and type(value) not in {int, float, bool, str, type(None)}:
        message = f"{location}: expected a tensor or plain data, got {type(value).__name__}"
        raise TypeError(message)
