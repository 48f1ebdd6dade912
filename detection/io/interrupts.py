"""Ctrl-C, which stops everything at once, also where compiled code swallows it.

Python raises KeyboardInterrupt in whatever runs in the main thread. Compiled code that calls back
into Python turns it into a ``SystemError`` or drops it; what stands in a chain of errors is found
there, and what was dropped is remembered here.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

_CAME = threading.Event()
_LATER = 0.02
"""Seconds after which an interrupt is tried again."""


def raise_if_interrupted(error: BaseException | None = None) -> None:
    """Raise KeyboardInterrupt if one came and was swallowed, or if ``error`` was made of one.

    Args:
        error: that is about to be taken for something else; its causes are looked through.
    """
    if is_interrupt(error):
        raise KeyboardInterrupt from error


def is_interrupt(error: BaseException | None) -> bool:
    """Return True if Ctrl-C was pressed, or a KeyboardInterrupt is among an error's causes."""
    if _CAME.is_set():
        return True
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def uncovered() -> Iterator[None]:
    """Raise as KeyboardInterrupt what compiled code made of one."""
    try:
        yield
    except Exception as error:
        raise_if_interrupted(error)
        raise


@contextlib.contextmanager
def remembered(*, last: bool = False) -> Iterator[None]:
    """Remember that Ctrl-C was pressed, so that a swallowed one still ends the work.

    Outside the main thread, and where Ctrl-C is ignored or somebody else's, nothing changes.

    Args:
        last: whether the process ends afterwards; one more Ctrl-C then makes no difference.
    """
    alone = threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _note)
    before, sys.unraisablehook = sys.unraisablehook, functools.partial(_drop, sys.unraisablehook)
    again = hasattr(signal, "SIGALRM") and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    if again:
        signal.signal(signal.SIGALRM, _note)
    try:
        yield
    finally:
        sys.unraisablehook = before
        if again:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN if last else signal.default_int_handler)
        forget()


def forget() -> None:
    """Take a Ctrl-C as dealt with."""
    _CAME.clear()


def _note(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; in the middle of an import, as soon as that is over.

    A library that is half imported cannot be left: some end the process by an abort, others fail
    later with errors of their own.
    """
    _CAME.set()
    alarm = getattr(signal, "SIGALRM", None)
    if alarm and signal.getsignal(alarm) is _note and _is_importing(frame):
        _try_again()
        return
    raise KeyboardInterrupt


def _drop(before: Callable[[Any], object], error: Any) -> None:
    """Try an interrupt again that came where Python can only print it, such as a ``__del__``.

    What it leaves half done there fails in its turn, which is nobody's fault.
    """
    if not _CAME.is_set():
        before(error)
    elif isinstance(error.exc_value, KeyboardInterrupt):
        _try_again()


def _try_again() -> None:
    """Raise the interrupt in a moment, where somebody else has not taken the clock."""
    alarm = getattr(signal, "SIGALRM", None)  # Windows has none
    if alarm and signal.getsignal(alarm) is _note:
        signal.setitimer(signal.ITIMER_REAL, _LATER)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C back; processes that are started meanwhile never see it.

    A terminal sends it to every process. Workers leave it to the process that started them, which
    ends them: each would otherwise print its own traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
