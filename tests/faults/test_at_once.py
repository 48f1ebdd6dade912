"""Several runs at the same moment, in one folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from detection.io.tensors import load_tensors
from tests.faults.conftest import Trained
from tests.faults.small import SETTINGS, run, where, write_tree

ROOT = Path(__file__).parents[2]


def run_at_once(commands: Sequence[Sequence[object]]) -> list[tuple[int, str]]:
    """Run commands at the same moment; return exit code and error output of each.

    On one thread each: what is compared with them must be made here too, for convolutions round
    otherwise on several threads.
    """
    words = json.dumps([list(map(str, command)) for command in commands])
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.at_once", words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [(code, text) for code, text in json.loads(done.stdout.splitlines()[-1])]


def contents(folder: Path) -> dict[str, dict[str, object]]:
    """Return the tensors of every file in a folder."""
    return {
        str(path.relative_to(folder)): {n: t.tolist() for n, t in load_tensors(path)[0].items()}
        for path in folder.rglob("*.safetensors")
    }


def test_f44_of_six_runs_started_at_once_in_one_folder_one_trains(
    trained_once: Trained, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = ["train", *SETTINGS, *trained_once.where, "--out", out]
    ended = run_at_once([command] * 6)
    assert sorted(code for code, _ in ended) == [0, 2, 2, 2, 2, 2]
    for code, text in ended:
        if code == 2:
            assert f"error: {out}: " in text
            assert "locked by pid" in text or "expected an empty folder" in text
            assert "Traceback" not in text
    alone = tmp_path / "alone"
    assert run_at_once([[*command[:-1], alone]])[0][0] == 0
    expected, _ = load_tensors(alone / "model.safetensors")
    actual, _ = load_tensors(out / "model.safetensors")
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert len((out / "command.txt").read_text().splitlines()) == 1
    assert not (out / ".lock").exists()


def test_f44_the_lock_of_a_dead_run_stops_nobody(trained: Trained) -> None:
    (trained.run / ".lock").write_text("999999\n")
    assert run("evaluate", trained.run) == 0
    assert not (trained.run / ".lock").exists()


def test_f45_two_writers_fill_one_store_of_boxes(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "data")
    command = ["propose", "--proposals.workers", "1", *where(tree, tmp_path / "boxes")]
    assert [code for code, _ in run_at_once([command] * 2)] == [0, 0]
    assert run("propose", "--proposals.workers", "1", *where(tree, tmp_path / "alone")) == 0
    assert contents(tmp_path / "boxes") == contents(tmp_path / "alone")
    assert len(contents(tmp_path / "boxes")) == 9
    assert not list((tmp_path / "boxes").rglob(".*.tmp"))
