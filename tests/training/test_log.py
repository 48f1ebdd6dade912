import csv
import json

import pytest

from detection.training.log import StepLog, read_rows


def test_rows_are_means_over_their_steps(tmp_path):
    with StepLog(tmp_path, 0, 2) as log:
        for step, value in ((1, 1.0), (2, 3.0), (3, 10.0), (4, 20.0)):
            log.add(step, {"loss": value} | ({"error": 0.5} if step == 4 else {}))
    rows = read_rows(tmp_path)
    assert [(row["step"], row["loss"]) for row in rows] == [(2, 2.0), (4, 15.0)]
    with (tmp_path / "training.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["loss"] for row in table] == ["2.0", "15.0"]
    assert [row["error"] for row in table] == ["", "0.5"]


def test_a_resumed_log_has_each_step_once(tmp_path):
    with StepLog(tmp_path, 0, 1) as log:
        for step in (1, 2, 3):
            log.add(step, {"loss": 1.0})
    with (tmp_path / "training.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    with StepLog(tmp_path, 2, 1) as log:
        for step in (3, 4):
            log.add(step, {"loss": 2.0})
    lines = (tmp_path / "training.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]


def test_event_files_are_written_on_demand(tmp_path):
    pytest.importorskip("tensorboard")
    with StepLog(tmp_path, 0, 1, tensorboard=True) as log:
        log.add(1, {"loss": 1.0})
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
