"""The training log: CSV and JSON lines always, TensorBoard if configured."""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from detection.io.files import to_plain, write_text_atomic

_LOG = logging.getLogger(__name__)

_CSV, _JSON = "training.csv", "training.jsonl"


class StepLog:
    """Rows of numbers, each the mean over some steps.

    Two files: ``training.jsonl``, one JSON object a row, and ``training.csv``, written when the
    training ends, with a column for every number that ever occurred. A resumed training cuts the
    rows after the step it resumes from.

    Args:
        folder: where to write.
        first: steps already done.
        every: steps between rows.
        tensorboard: write event files too, below ``folder``.
        silent: write nothing.
    """

    def __init__(
        self,
        folder: Path,
        first: int,
        every: int,
        *,
        tensorboard: bool = False,
        silent: bool = False,
    ) -> None:
        self._folder = Path(folder)
        self._every = every
        self._silent = silent
        self._sums: dict[str, tuple[float, int]] = {}
        self._last = first
        self._writer = _tensorboard(self._folder) if tensorboard and not silent else None
        if not silent:
            self._rows = [row for row in read_rows(self._folder) if row.get("step", 0) <= first]
            lines = "".join(json.dumps(row) + "\n" for row in self._rows)
            write_text_atomic(self._folder / _JSON, lines)

    def __enter__(self) -> StepLog:
        """Start the clock."""
        self._time = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the rows as CSV."""
        if not self._silent:
            names = list(dict.fromkeys(name for row in self._rows for name in row))
            write_csv(self._folder / _CSV, names, self._rows)
        if self._writer is not None:
            self._writer.close()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of one step; write a row if it is time.

        Args:
            step: how many steps have been done.
            values: any numbers; a row has the mean of those that occurred.
        """
        for name, value in values.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + float(value), count + 1
        if step % self._every == 0:
            self._write(step)

    def _write(self, step: int) -> None:
        seconds, self._time = time.monotonic() - self._time, time.monotonic()
        row: dict[str, float] = {"step": step, "seconds_per_step": seconds / (step - self._last)}
        row |= {name: total / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        self._last = step
        if self._silent:
            return
        self._rows.append(row)
        with (self._folder / _JSON).open("a", encoding="utf-8") as file:
            file.write(json.dumps(to_plain(row)) + "\n")
        _LOG.info("%s", "  ".join(f"{name} {value:.4g}" for name, value in row.items()))
        if self._writer is not None:
            for name, value in row.items():
                self._writer.add_scalar(name, value, step)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a training; a row that a killed one left half written is not there."""
    path = Path(folder) / _JSON
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def write_csv(path: Path, names: list[str], rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV; what a row lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomic(path, text.getvalue())


def _tensorboard(folder: Path) -> Any:
    """Return a TensorBoard writer; None, with a warning, without the library."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _LOG.warning("tensorboard is not installed: no event files; pip install tensorboard")
        return None
    return SummaryWriter(str(folder))
