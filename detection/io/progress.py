"""How far the work is and how long it will take: a line that moves, or a line now and then."""

from __future__ import annotations

import math
import operator
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from detection.io.interrupts import raise_if_interrupted

T = TypeVar("T")

EVERY = 30.0
"""Seconds between two lines where nobody watches a terminal."""


def track(iterable: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
    """Pass the items on, and say on stderr how far they are.

    On a terminal by a line that moves; elsewhere, as in a log file, by a line every 30 seconds.

    Raises:
        KeyboardInterrupt: if Ctrl-C was pressed, even where the work on an item swallowed it.
    """
    for item in _shown(iterable, total, description):
        yield item
        raise_if_interrupted()


def _shown(iterable: Iterable[T], total: int | None, description: str) -> Iterable[T]:
    if sys.stderr is None or not sys.stderr.isatty():
        return _in_lines(iterable, total, description)
    from tqdm import tqdm

    return tqdm(iterable, total=total, desc=description, dynamic_ncols=True)


def _in_lines(iterable: Iterable[T], total: int | None, description: str) -> Iterator[T]:
    """Pass the items on; print a line after each ``EVERY`` seconds."""
    total = operator.length_hint(iterable, 0) if total is None else total
    start = last = time.monotonic()
    for done, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - last >= EVERY and sys.stderr is not None:
            last = now
            sys.stderr.write(progress_line(description, done, total, now - start) + "\n")
            sys.stderr.flush()


def progress_line(description: str, done: int, total: int, seconds: float) -> str:
    """Return, for example, ``objects 312/616, 4 min left``.

    Args:
        description: what is counted.
        done: how many are.
        total: how many there are; 0 where nobody knows.
        seconds: that they took.
    """
    name = description or "done"
    if total < done:
        return f"{name} {done:,}"
    left = seconds / done * (total - done)
    if left < 60:
        return f"{name} {done:,}/{total:,}, {math.ceil(left)} s left"
    minutes = math.ceil(left / 60)
    hours = f"{minutes // 60} h " if minutes >= 60 else ""
    return f"{name} {done:,}/{total:,}, {hours}{minutes % 60 if hours else minutes} min left"
