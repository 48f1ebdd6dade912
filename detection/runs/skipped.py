"""``skipped.csv``: every object and image that a run left out, one per line."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from detection.errors import DataError
from detection.io.files import write_text_atomic
from detection.io.reading import read_plain
from detection.values import Skipped

NAME = "skipped.csv"
COLUMNS = ("split", "file", "kind", "reason")


def write_skipped(folder: Path, skipped: Mapping[str, Sequence[Skipped]]) -> Path:
    """Write what was skipped in some splits; entries of other splits stay.

    The file is written even if nothing was left out, and then holds its first line only.

    Args:
        folder: of the run.
        skipped: split -> what was left out of it.

    Raises:
        DataError: where the disk is full or the folder cannot be written; the old file stays.
    """
    path = Path(folder) / NAME
    rows = [row for row in _read(path) if row[0] not in skipped]
    for split, entries in skipped.items():
        rows += [[split, *map(_one_line, (s.file, s.kind, s.reason))] for s in entries]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *rows])
    write_text_atomic(path, text.getvalue())
    return path


def _read(path: Path) -> list[list[str]]:
    """Return the rows of an earlier file; none if it is missing or of another kind."""
    try:
        rows = list(csv.reader(read_plain(path, "a list").decode().splitlines()))
    except (OSError, DataError, ValueError, csv.Error):
        return []
    whole = rows[:1] == [list(COLUMNS)] and all(len(row) == len(COLUMNS) for row in rows)
    return rows[1:] if whole else []


def _one_line(text: str) -> str:
    return " ".join(text.split())
