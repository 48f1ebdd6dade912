"""A worker or a scheduler that falls silent ends the work with a message; a slow one does not."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detection.errors import DataError
from detection.io import dask_cluster, patience
from detection.io.dask_cluster import Watch, watched


class Cluster:
    """A client whose scheduler says what a test says."""

    def __init__(self, *seen: float, answers: bool = True) -> None:
        self.scheduler = self
        self.identity = object()
        self._seen = [itertools.repeat(first) if first < 0 else itertools.count() for first in seen]
        self._answers = answers

    def sync(self, function: object, callback_timeout: float) -> dict[str, Any]:
        if not self._answers:
            raise TimeoutError
        workers = {f"tcp://{n}": {"last_seen": next(s)} for n, s in enumerate(self._seen)}
        return {"workers": workers}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "_LOOK", 0.05)
    monkeypatch.setenv(patience.VARIABLE, "1.5")


def never() -> Iterator[int]:
    yield 1
    threading.Event().wait(60)


def test_a_silent_worker_is_named() -> None:
    outcomes = watched(never(), Cluster(0, -1))
    assert next(outcomes) == 1
    said = r"got the worker tcp://1 that has been silent for 2 s; .*DETECTION_SILENT_SECONDS"
    with pytest.raises(DataError, match=said):
        next(outcomes)


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    with pytest.raises(DataError, match="got a scheduler that has been silent for 2 s"):
        list(watched(never(), Cluster(0, answers=False)))


def test_a_slow_item_of_a_living_worker_is_waited_for() -> None:
    def slow() -> Iterator[int]:
        time.sleep(4)
        yield 7

    assert list(watched(slow(), Cluster(0, 0))) == [7]


def test_an_error_is_raised_where_it_is_waited_for() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("a")

    outcomes = watched(broken(), Cluster(0))
    assert next(outcomes) == 1
    with pytest.raises(KeyError, match="a"):
        next(outcomes)


def test_a_worker_that_is_gone_is_no_longer_waited_for() -> None:
    watch = Watch(0.0)
    watch.note({"a": {"last_seen": 1.0}, "b": {"last_seen": 1.0}})
    watch.note({"b": {"last_seen": 2.0}})
    assert "worker a" not in watch.lost()


def test_a_cluster_that_has_lost_all_its_workers_is_named() -> None:
    watch = Watch(0.02)
    watch.note({})
    time.sleep(0.05)
    watch.note({})
    assert watch.lost() == ""  # the first ones may still be on their way
    watch.note({"a": {"last_seen": 1.0}})
    time.sleep(0.05)
    watch.note({})
    assert watch.lost() == "none of its workers for 0 s"


CLIENT = """
import os, signal, sys, time
from detection.errors import DataError
from detection.io.parallel import parallel_map

def work(number):
    time.sleep(0.3)
    if number == 3 and "DASK_SCHEDULER_ADDRESS" not in os.environ:
        os.kill(os.getpid(), getattr(signal, os.environ["SENT"]))
    return number

if __name__ == "__main__":
    names = [f"{n}.jpg" for n in range(9)]
    try:
        for index, _ in parallel_map(work, range(9), workers=2, names=names, backend="dask"):
            if index == 2 and "SCHEDULER" in os.environ:
                os.kill(int(os.environ["SCHEDULER"]), signal.SIGKILL)
    except DataError as error:
        print(error)
        sys.exit(2)
"""

CLUSTER = """
import time
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    print(cluster.scheduler_address, flush=True)
    time.sleep(600)
"""


def end_of_client(folder: Path, **environment: str) -> str:
    """Return what a command that fails says, which is all that there is to see."""
    script = folder / "client.py"
    script.write_text(CLIENT)
    done = subprocess.run(
        (sys.executable, str(script)),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | {patience.VARIABLE: "20"} | environment,
    )
    assert (done.returncode, done.stderr) == (2, "")
    return done.stdout


@pytest.mark.parametrize(
    ("sent", "said"), [("SIGSTOP", "that has been silent for"), ("SIGKILL", "3.jpg: worker proc")]
)
def test_a_stopped_or_killed_worker_of_a_real_cluster_ends_the_work_with_one_line(
    tmp_path: Path, sent: str, said: str
) -> None:
    pytest.importorskip("distributed")
    assert said in end_of_client(tmp_path, SENT=sent)


def test_a_killed_scheduler_ends_the_work_with_one_line(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    command = (sys.executable, str(script))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as it:
        address = it.stdout.readline().strip() if it.stdout else ""
        where = {"DASK_SCHEDULER_ADDRESS": address, "SCHEDULER": str(it.pid)}
        said = end_of_client(tmp_path, **where)
    assert "the scheduler was lost while these were under way" in said
