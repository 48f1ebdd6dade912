"""What a training costs, over all its lives: kept in a file beside its run folder."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detection.io.files import write_json_atomic
from detection.io.peak_memory import start_peak_memory
from detection.reproduce.results import Duration


def clock_file(folder: Path) -> Path:
    """Return where a training's cost is kept: beside its run folder."""
    return folder.parent / f"{folder.name}.time.json"


@contextlib.contextmanager
def clock(path: Path) -> Iterator[None]:
    """Add the cost of what is done to a file, whatever ends it but a kill."""
    before = read_clock(path) or Duration(seconds=0.0, cpu_seconds=0.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, before, running=True)
    start, cpu, peak = time.perf_counter(), cpu_seconds(), start_peak_memory()
    try:
        yield
    finally:
        known = [gib for gib in (before.peak_gib, peak()) if gib is not None]
        after = Duration(
            seconds=before.seconds + time.perf_counter() - start,
            whole=before.whole,
            cpu_seconds=_add(before.cpu_seconds, cpu_seconds() - cpu),
            peak_gib=max(known, default=None),
        )
        _write(path, after, running=False)


def read_clock(path: Path) -> Duration | None:
    """Read a training's cost; a clock that still runs was killed."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Duration(
            seconds=float(values["seconds"]),
            whole=bool(values["whole"]) and not values["running"],
            cpu_seconds=_number(values.get("cpu_seconds")),
            peak_gib=_number(values.get("peak_gib")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def cpu_seconds() -> float:
    """Return the processor time of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _write(path: Path, cost: Duration, *, running: bool) -> None:
    values = {
        "seconds": cost.seconds,
        "cpu_seconds": cost.cpu_seconds,
        "peak_gib": cost.peak_gib,
        "whole": cost.whole,
        "running": running,
    }
    write_json_atomic(path, values)


def _add(before: float | None, more: float) -> float | None:
    return None if before is None else before + more


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
