"""A sign of life from each process of a training: one that is stopped is named within a minute.

Processes that train together wait for one another, for hours where one of them does what the others
need; a limit on that wait would end sound trainings. So each says every second that it lives, from
a thread of its own, and watches the others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from detection.io.patience import VARIABLE, silent_seconds

_BEAT = 1.0
"""Seconds between two signs of life."""

_DONE = "done"


@contextlib.contextmanager
def heartbeat(rank: int, count: int) -> Iterator[None]:
    """Say that this process lives, and end it with one line where another falls silent.

    Args:
        rank: of this process.
        count: of all; 1 does nothing.
    """
    if count == 1:
        yield
        return
    store = _connect(count)
    leave = threading.Event()
    watch = Watch(rank, count, silent_seconds())

    def run() -> None:
        number = 0
        while not leave.wait(_BEAT):
            number += 1
            with contextlib.suppress(Exception):  # silence is what the watch looks for
                store.set(str(rank), _sign(number))
                watch.note(lambda other: store.get(other).decode())
            if lost := watch.lost():
                _end(rank, lost, watch.silent, first=watch.first)

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    store.set(str(rank), _sign(0))
    thread.start()
    try:
        yield
    finally:
        leave.set()
        thread.join(timeout=5)
        with contextlib.suppress(Exception):
            store.set(str(rank), _DONE)


class Watch:
    """Remembers when each of the other processes was last heard of.

    Attributes:
        first: whether this process is the first of those that live, which says who does not.
        silent: the last signs of those that do not.
    """

    def __init__(self, rank: int, count: int, limit: float) -> None:
        now = time.monotonic()
        self.first = rank == 0
        self.silent: tuple[str, ...] = ()
        self._rank = rank
        self._limit = limit
        self._answered = now
        self._heard: dict[int, tuple[str, float]] = {
            other: ("", now) for other in range(count) if other != rank
        }

    def note(self, read: Callable[[str], str]) -> None:
        """Read the last sign of each."""
        now = time.monotonic()
        for other, (sign, _) in self._heard.items():
            if (new := read(str(other))) != sign:
                self._heard[other] = (new, now)
        self._answered = now

    def lost(self) -> str:
        """Return who has been silent for too long; "" where nobody has."""
        now = time.monotonic()
        silent = [
            other
            for other, (sign, since) in self._heard.items()
            if sign != _DONE and now - since > self._limit
        ]
        living = {self._rank, *self._heard} - set(silent)
        self.first = self._rank == min(living)
        self.silent = tuple(self._heard[other][0] for other in silent)
        if silent:
            return f"process {silent[0]} silent for {self._limit:g} s"
        if now - self._answered > self._limit:
            return f"no answer of the store of torchrun for {self._limit:g} s"
        return ""


def _connect(count: int) -> Any:
    """Return the store that torchrun, or the first process, has opened."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    wait = timedelta(seconds=silent_seconds())
    library: Any = dist  # its stubs lack both
    store = library.TCPStore(address, port, count, is_master=False, timeout=wait)
    return library.PrefixStore("detection-heartbeat", store)


def _end(rank: int, lost: str, silent: Iterable[str], *, first: bool) -> None:
    """End this process; what waits for another in compiled code cannot be interrupted."""
    if first:
        sys.stderr.write(
            f"error: torchrun: process {rank}: expected every process to answer, got {lost}; end "
            f"them and start again with --resume, or raise {VARIABLE}\n"
        )
        sys.stderr.flush()
    for sign in silent:
        _kill_sibling(sign)
    os._exit(2)


def _sign(number: int) -> str:
    """Return a sign of life: a number that moves, and which process of which torchrun this is."""
    return f"{number} {_group()}:{os.getpid()}"


def _group() -> str:
    return os.environ.get("GROUP_RANK", "")


def _kill_sibling(sign: str) -> None:
    """Kill a silent process that this one's torchrun has started.

    torchrun would do so as well, but first waits for half a minute that a stopped process ends by
    itself. Nothing is done where the system does not say whose child it is.
    """
    group, _, process = sign.partition(" ")[2].partition(":")
    parent = _parent_of(process)
    kill = getattr(signal, "SIGKILL", None)  # not on Windows
    if kill is not None and group and group == _group() and parent and parent == os.getppid():
        with contextlib.suppress(OSError):
            os.kill(int(process), kill)


def _parent_of(process: str) -> int:
    """Return the process that started another; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
