"""A process of a training that is stopped ends the others; one that is done or busy does not."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detection.training import heartbeat
from detection.training.heartbeat import Watch

RANK = """
import os, sys, time
from detection.training.heartbeat import heartbeat

rank, folder = int(os.environ["RANK"]), sys.argv[1]
with heartbeat(rank, 2):
    open(f"{folder}/{os.getpid()}-{rank}", "w").close()
    time.sleep(float(sys.argv[2 + rank]))
time.sleep(float(sys.argv[4]))
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that have gone by, to be set."""
    now = [0.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    return now


def test_a_process_that_falls_silent_is_named(clock: list[float]) -> None:
    signs = {"1": "0", "2": "0"}
    watch = Watch(0, 3, 10.0)
    for second in range(20):
        clock[0] = float(second)
        signs["1"] = str(second)
        watch.note(signs.__getitem__)
        assert (watch.lost() != "") == (second > 10)
    assert watch.lost() == "process 2 silent for 10 s"
    assert watch.first


def test_the_first_that_lives_says_who_does_not(clock: list[float]) -> None:
    signs = {"0": "5", "1": "1"}
    watch = Watch(2, 3, 10.0)
    watch.note(signs.__getitem__)
    clock[0] = 11.0
    watch.note({**signs, "1": "2"}.__getitem__)
    assert watch.lost() == "process 0 silent for 10 s"
    assert not watch.first


def test_a_process_that_is_done_may_be_silent(clock: list[float]) -> None:
    watch = Watch(0, 2, 10.0)
    watch.note(lambda _: "done")
    clock[0] = 1000.0
    watch.note(lambda _: "done")
    assert watch.lost() == ""


def test_a_store_that_does_not_answer_is_named(clock: list[float]) -> None:
    watch = Watch(0, 2, 10.0)
    watch.note(lambda _: "done")
    clock[0] = 11.0
    assert watch.lost() == "no answer of the store of torchrun for 10 s"


def test_one_process_alone_has_no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with heartbeat.heartbeat(0, 1):
        pass


def launch(folder: Path, *seconds: float, patience: float) -> subprocess.Popen[str]:
    """Start two processes under torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = folder / "rank.py"
    script.write_text(RANK)
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port))
    signs = folder / "signs"
    signs.mkdir()
    return subprocess.Popen(
        [sys.executable, *launcher, str(script), str(signs), *map(str, seconds)],
        env={**os.environ, heartbeat.VARIABLE: str(patience)},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_both(folder: Path) -> dict[int, int]:
    """Return rank -> process, once both live."""
    for _ in range(1200):
        found = [path.name.split("-") for path in (folder / "signs").iterdir()]
        if len(found) == 2:
            return {int(rank): int(process) for process, rank in found}
        time.sleep(0.1)
    pytest.fail("the processes never began")


def wait_for_the_end(process: int) -> None:
    began = time.monotonic()
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() - began < 60
        time.sleep(0.1)


@pytest.mark.parametrize("group", ["", "1"])
def test_a_process_of_another_torchrun_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    monkeypatch.setenv("GROUP_RANK", "0")
    monkeypatch.setattr(heartbeat.os, "kill", lambda *_: pytest.fail("killed"))
    heartbeat._kill_sibling(f"3 {group}:{os.getpid()}")  # a child of the same parent
    heartbeat._kill_sibling("3")
    heartbeat._kill_sibling("3 0:1")
    heartbeat._kill_sibling("3 0:none")


def test_a_silent_child_of_the_same_parent_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = []
    monkeypatch.setenv("GROUP_RANK", "0")
    monkeypatch.setattr(heartbeat.os, "kill", lambda *what: killed.append(what))
    heartbeat._kill_sibling(f"3 0:{os.getpid()}")
    assert killed == [(os.getpid(), signal.SIGKILL)]


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_stopped_process_ends_the_training_with_one_line(tmp_path: Path, stopped: int) -> None:
    torchrun = launch(tmp_path, 600, 600, 0, patience=4)
    processes = wait_for_both(tmp_path)
    try:
        os.kill(processes[stopped], signal.SIGSTOP)
        wait_for_the_end(processes[1 - stopped])
        began = time.monotonic()
        wait_for_the_end(processes[stopped])
        assert time.monotonic() - began < 20  # torchrun itself waits for 30 s
    finally:
        for process in processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        _, said = torchrun.communicate(timeout=120)
    assert torchrun.returncode != 0
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert f"process {1 - stopped}: expected every process to answer" in errors[0]
    assert f"got process {stopped} silent for 4 s" in errors[0]


def test_a_process_that_is_done_early_ends_nobody(tmp_path: Path) -> None:
    torchrun = launch(tmp_path, 0.5, 8, 1, patience=3)
    _, said = torchrun.communicate(timeout=240)
    assert torchrun.returncode == 0, said[-2000:]
