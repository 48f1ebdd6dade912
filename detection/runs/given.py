"""``given.json``: what a run was given in Python, which its configuration cannot bring back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detection.errors import DataError
from detection.io.files import write_json_atomic
from detection.io.reading import read_plain

NAME = "given.json"

_SAID = (
    "Given in Python, not by config.yaml: give it again to resume this run, and a backbone to load "
    "its model, too."
)


def require_same_given(
    folder: Path, given: Mapping[str, Mapping[str, Any]], *, override: bool = False
) -> None:
    """Write ``given.json``; where an interrupted run left one, check that it is the same.

    A run that was given nothing has no such file.

    Args:
        folder: of the run.
        given: argument of ``train`` -> what it is.
        override: go on with others.

    Raises:
        DataError: if something is missing now or is another one, or the file cannot be read or
            written.
    """
    path = Path(folder) / NAME
    before = _read(path) if path.is_file() and not override else {}
    for name, what in before.items():
        if name not in given:
            message = (
                f"{folder}: expected the {name} that this run was given in Python, got none; "
                f"resume with train(config, out, {name}=..., resume=True)"
            )
            raise DataError(message)
        changes = [
            f"{key}: {value!r} -> {given[name].get(key)!r}"
            for key, value in what.items()
            if given[name].get(key) != value
        ]
        if changes:
            message = (
                f"{folder}: expected the {name} that this run began with, got "
                f"{'; '.join(changes)}; resume with the old one, or with override"
            )
            raise DataError(message)
    if given:
        write_json_atomic(path, {"about": _SAID, **given})
    elif override:
        path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        values = json.loads(read_plain(path, "JSON"))
    except (OSError, ValueError) as error:
        message = f"{path}: expected JSON, got {error}; resume with --override to write it anew"
        raise DataError(message) from error
    values = values if isinstance(values, dict) else {}
    return {name: what for name, what in values.items() if isinstance(what, dict)}
