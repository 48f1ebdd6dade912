"""Ctrl-C stops everything at once; only an image's own faults are booked as an image's."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from detection.errors import DataError, DetectionError, ImageError
from detection.io.interrupts import raise_if_interrupted, remembered
from detection.io.parallel import parallel_map
from detection.io.progress import track

pytestmark = pytest.mark.usefixtures("interruptible")


def as_numba_does(x: int) -> int:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        message = "<function search> returned a result with an exception set"
        raise SystemError(message) from error


def dropped(x: int) -> int:
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        return x
    return x


def no_space(x: int) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/store/boxes.safetensors")


def no_memory(x: int) -> int:
    raise MemoryError


def mistaken(x: int) -> int:
    return x // 0


def refused(x: int) -> int:
    message = "/store/boxes.safetensors: cannot be written: Permission denied"
    raise DataError(message)


def broken(x: int) -> int:
    message = "1.jpg: expected an image, got an empty file"
    raise ImageError(message)


def collect(function: Callable[[int], int], workers: int, backend: str = "loky") -> list[str]:
    blamed: list[str] = []

    def note(index: int, error: DetectionError) -> None:
        blamed.append(str(error))

    names = ["0.jpg", "1.jpg", "2.jpg"]
    for _ in parallel_map(
        function, range(3), workers=workers, names=names, on_error=note, backend=backend
    ):
        pass
    return blamed


WAYS = [(1, "loky"), (2, "loky"), (2, "threading")]


@pytest.mark.parametrize(("workers", "backend"), WAYS)
def test_an_interrupt_that_compiled_code_turned_into_an_error_is_one(
    workers: int, backend: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        collect(as_numba_does, workers, backend)


def test_an_interrupt_that_was_dropped_still_ends_the_work() -> None:
    with remembered(), pytest.raises(KeyboardInterrupt):
        collect(dropped, 1)
    with remembered(), pytest.raises(KeyboardInterrupt):
        list(map(dropped, track(range(3))))
    raise_if_interrupted()  # forgotten with the command


@pytest.mark.parametrize(("workers", "backend"), WAYS)
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_space, r"No space left on device: '/store/boxes.safetensors'"),
        (no_memory, "not enough memory"),
        (mistaken, "ZeroDivisionError"),
        (refused, r"^/store/boxes.safetensors: cannot be written: Permission denied$"),
    ],
)
def test_errors_of_the_machine_stop_the_run(
    function: Callable[[int], int], said: str, workers: int, backend: str
) -> None:
    with pytest.raises(DataError, match=said):
        collect(function, workers, backend)


@pytest.mark.parametrize(("workers", "backend"), WAYS)
def test_an_image_at_fault_stops_nothing(workers: int, backend: str) -> None:
    assert len(collect(broken, workers, backend)) == 3


def test_an_interrupt_within_an_import_waits_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_imported.py").write_text(
        "import os, signal, time\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(0.1)\n"
        "whole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    began = time.monotonic()
    with remembered(), pytest.raises(KeyboardInterrupt):  # noqa: PT012
        import half_imported

        assert half_imported.whole
        time.sleep(20)
    assert time.monotonic() - began < 5


DESTRUCTOR = """
import os, signal, time
from detection.io.interrupts import remembered

class Freed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(20)

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with remembered():
        Freed()
        time.sleep(20)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_within_a_destructor_is_neither_lost_nor_printed() -> None:
    command = (sys.executable, "-c", DESTRUCTOR)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_other_errors_of_destructors_are_shown_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda error: shown.append(error.exc_value))

    class Broken:
        def __del__(self) -> None:
            raise ValueError

    with remembered():
        Broken()
    assert [type(one) for one in shown] == [ValueError]
