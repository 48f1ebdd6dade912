"""What an interrupted training says: the command that continues it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from detection.io.interrupts import is_interrupt
from detection.runs.folder import is_unfinished


@contextlib.contextmanager
def says_how_to_resume(verb: str, out: Path) -> Iterator[None]:
    """Print the command that continues a training when Ctrl-C or SIGTERM ends it.

    Args:
        verb: of the command line.
        out: the run folder; nothing is said before there is a run in it.
    """
    process = os.getpid()
    handles = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )

    def terminate(number: int, frame: FrameType | None) -> None:
        # Not as an exception: compiled code that calls back into Python would swallow it.
        if os.getpid() == process:  # and not one that was forked from it
            os.write(2, resume_line(verb, out).encode())
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if handles:
        signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except BaseException as error:
        if isinstance(error, SystemExit) or is_interrupt(error):
            sys.stderr.write(resume_line(verb, out))
        raise
    finally:
        if handles:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def resume_line(verb: str, out: Path) -> str:
    """Return one line with the command; nothing where no unfinished run is."""
    if not is_unfinished(out):
        return ""
    config = str(Path(out) / "config.yaml")
    words = ["detection", verb, "--config", config, "--out", str(out), "--resume"]
    return f"to continue: {shlex.join(words)}\n"
