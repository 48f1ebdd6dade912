"""What becomes of the work of a killed worker: its parts, on commands that only pretend to work."""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from detection.inference.features import INDEX

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

COMMAND = """
import json, pathlib, subprocess, sys
out, worker, last = pathlib.Path(sys.argv[1]), sys.argv[2] == "worker", sys.argv[3]
(out / "shards").mkdir(parents=True)
(out / "log.txt").write_text(str(out))
first = json.dumps({"rows": 2}) + "\\n"
(out / "shards/0-2.jsonl").write_text(first)
if worker:
    line = [sys.executable, "-c", "while True: pass", "ray::detect"]
    assert subprocess.run(line).returncode == -9  # SIGKILL
    (out / "shards/2-4.jsonl").write_text(first)
(out / "detections.json").write_text(last)
"""
"""Writes a shard, waits for a worker that never ends by itself, and goes on once it is killed."""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts/experiments")
    return importlib.import_module("kill_a_worker")


def pretend(
    words: Sequence[str], out: Path, *, last: Sequence[str] = ("same", "same")
) -> subprocess.Popen[bytes]:
    """Start the pretended command, with a worker where there is to be one."""
    worker = "--parallel" in words
    line = [sys.executable, "-c", COMMAND, out, "worker" if worker else "alone", last[worker]]
    return subprocess.Popen(line)


def test_the_busy_worker_is_killed_once_a_shard_is_there(
    script: ModuleType, tmp_path: Path
) -> None:
    command = pretend(["--parallel"], tmp_path / "out")
    worker, done = script.kill_a_worker(command, tmp_path / "out", script.SHARDS, 1)
    script.finish(command)  # its own check is that the worker got SIGKILL
    assert worker != command.pid
    assert done == 1
    assert script.count_images(tmp_path / "out", "detect") == 4


def test_a_command_that_ends_before_is_said(script: ModuleType, tmp_path: Path) -> None:
    command = pretend([], tmp_path / "out")
    with pytest.raises(SystemExit, match="expected a worker to kill, got none before the end"):
        script.kill_a_worker(command, tmp_path / "out", script.SHARDS, 1)


@pytest.mark.parametrize(
    ("last", "different"), [("same", "0 different"), ("other", "1 different: detections.json")]
)
def test_every_file_is_compared(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    last: str,
    different: str,
) -> None:
    monkeypatch.setattr(script, "start", functools.partial(pretend, last=("same", last)))
    words = ["detect", "runs/x", "images", "--parallel", "ray", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["kill_a_worker.py", *words])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == (last != "same")
    line = capsys.readouterr().out.strip()
    assert line.startswith("detect over ray, 2 workers: 4 images, worker ")
    assert line.endswith(f"killed after 1 of 2 shards; 1 files of one process, {different}")


def test_a_command_that_fails_ends_the_experiment(script: ModuleType) -> None:
    failing = subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"])
    with pytest.raises(SystemExit, match="expected exit code 0, got 2"):
        script.finish(failing)
    unread = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])
    script.finish(unread)  # an image could not be read


def test_each_verb_is_called_as_it_takes_its_words(script: ModuleType) -> None:
    assert script.words_of("features", "runs/x", ["images"]) == [
        *("features", "images", "--run", "runs/x", "--features.device", "cpu")
    ]
    assert script.words_of("evaluate", "runs/x", []) == ["evaluate", "runs/x", "--device", "cpu"]


def test_features_are_counted_by_their_index(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"a.jpg": {}, "b.jpg": {}}))
    assert script.count_images(tmp_path, "features") == 2
