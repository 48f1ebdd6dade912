"""A progress line with the time that is left, silent where nobody watches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from detection.io.interrupts import raise_if_interrupted

T = TypeVar("T")


def track(iterable: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
    """Pass the items on, with a progress line on stderr if that is a terminal.

    Raises:
        KeyboardInterrupt: if Ctrl-C was pressed, even where the work on an item swallowed it.
    """
    for item in tqdm(iterable, total=total, desc=description, disable=None, dynamic_ncols=True):
        yield item
        raise_if_interrupted()
