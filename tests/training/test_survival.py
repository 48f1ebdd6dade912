"""Trainings that are killed, and trainings of several processes: each in processes of its own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from detection.io.tensors import load_tensors
from detection.training.distributed import ALONE
from detection.training.finetune_model import FineTuneModel
from detection.training.solver import Snapshot
from tests.training import ranks

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("measure", ["error", "map"])
def test_twenty_kills_change_no_bit_of_the_weights(tmp_path, measure):
    report = json.loads(run("-m", "tests.training.killed", tmp_path, 20, measure).splitlines()[-1])
    assert report["kills"] == 20
    assert report["equal"]
    assert max(report["checkpoints"]) >= 2


@pytest.mark.parametrize(("images_per_batch", "measure"), [(2, "error"), (0, "error"), (2, "map")])
def test_two_processes_share_each_mini_batch_and_end_with_the_weights_of_one(
    tmp_path, images_per_batch, measure, monkeypatch
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", 2, "--master-port", port)
    run(*launcher, "-m", "tests.training.ranks", tmp_path, images_per_batch, measure)
    monkeypatch.setattr(FineTuneModel, "forward", FineTuneModel.forward)
    monkeypatch.setattr(Snapshot, "offer", Snapshot.offer)
    expected, seen, errors = ranks.work(tmp_path / "alone", images_per_batch, ALONE, measure)
    reports = [json.loads((tmp_path / f"rank{r}/report.json").read_text()) for r in (0, 1)]
    assert [report["count"] for report in reports] == [2, 2]
    for step, samples in enumerate(seen):
        parts = [report["seen"][step] for report in reports]
        assert sorted(parts[0] + parts[1]) == sorted(samples)
        assert all(parts)
    assert reports[0]["errors"] == reports[1]["errors"] == pytest.approx(errors, abs=1e-6)
    assert [report["rows"] for report in reports] == [6, 0]
    for rank in (0, 1):
        weights, _ = load_tensors(tmp_path / f"rank{rank}/weights.safetensors")
        for name, value in expected.items():
            torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6)
