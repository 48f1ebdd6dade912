"""No worker process outlives the process that started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from detection.io.orphans import end_with_parent
from detection.io.parallel import parallel_map

def begin(folder):
    end_with_parent()
    open(os.path.join(folder, str(os.getpid())), "w").close()

def noted(folder):
    open(os.path.join(folder, str(os.getpid())), "w").close()
    time.sleep(600)

if __name__ == "__main__":
    if sys.argv[1] == "loky":
        list(parallel_map(noted, [sys.argv[2]] * 2, workers=2, names=["a", "b"]))
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(
        2, mp_context=context, initializer=begin, initargs=(sys.argv[2],)
    ) as pool:
        list(pool.map(time.sleep, [600, 600]))
"""


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("kind", ["loky", "forkserver"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_killed_parent(tmp_path: Path, kind: str, number: int) -> None:
    script, notes = tmp_path / "parent.py", tmp_path / "notes"
    script.write_text(PARENT)
    notes.mkdir()
    parent = subprocess.Popen((sys.executable, str(script), kind, str(notes)))
    workers: list[int] = []
    try:
        while len(workers) < 2:
            assert parent.poll() is None
            workers = [int(path.name) for path in notes.iterdir()]
            time.sleep(0.05)
        parent.send_signal(number)
        parent.wait(30)
        began = time.monotonic()
        while any(map(alive, workers)) and time.monotonic() - began < 20:
            time.sleep(0.1)
        assert not any(map(alive, workers))
    finally:
        for process in (parent.pid, *workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
