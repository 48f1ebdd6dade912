"""The load of the schedulers: what is measured, and the table of docs/scale.md."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.running import run_script

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/benchmarks/scheduler_load.py"
STORED = ROOT / "scripts/benchmarks/results/scheduler_load.json"


run = functools.partial(run_script, SCRIPT)


@pytest.mark.slow
def test_each_kind_and_number_of_workers_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    words = ["--kinds", "processes", "dask", "--workers", 1, 8, "--shards", 12, "--wait", 0.5]
    run(*words, "--out", tmp_path)
    stored = json.loads((tmp_path / "scheduler_load.json").read_text())
    lines = {(line["kind"], line["workers"]): line for line in stored["lines"]}
    assert list(lines) == [("processes", 1), ("dask", 1), ("dask", 8)]
    assert all(0 < line["busy"] <= 1 for line in lines.values())
    assert all(line["shards_a_second"] > 0 for line in lines.values())
    assert all(line["own_ms_a_shard"] > 0 for line in lines.values())
    assert [line["started"] for line in lines.values()] == [1, 1, 8]


def test_a_kind_that_takes_too_long_is_named_and_the_lines_of_others_stay(tmp_path: Path) -> None:
    stored = tmp_path / "scheduler_load.json"
    stored.write_text(json.dumps({"lines": [{"kind": "ray", "workers": 2}]}))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = ["--kinds", "processes", "--workers", "1", "2", "--limit", "0.01", "--out", tmp_path]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "processes, 1: took more than 0.01 s",
        "processes, 2: took more than 0.01 s",
    ]
    assert [line["kind"] for line in json.loads(stored.read_text())["lines"]] == ["ray"]


def test_the_page_shows_the_stored_numbers() -> None:
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    table = page.split("<!-- scheduler: begin -->")[1].split("<!-- scheduler: end -->")[0]
    rows = [row.strip("|").split("|") for row in table.strip().splitlines()[2:]]
    shown = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}
    lines = json.loads(STORED.read_text())["lines"]
    assert [(line["kind"], line["workers"]) for line in lines] == [
        ("processes", 1),
        ("processes", 2),
        ("dask", 1),
        ("dask", 2),
        ("dask", 64),
        ("ray", 1),
        ("ray", 2),
        ("ray", 64),
    ]
    assert len(shown) == len(lines)
    for line in lines:
        rate, *_, busy = shown[f"{line['workers']}, {line['kind']}"]
        assert float(rate.replace(",", "")) == round(line["shards_a_second"])
        assert float(busy.replace(",", "")) == round(351 * line["shards_a_second"])


def test_the_table_is_written_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- scheduler: begin -->\nold\n<!-- scheduler: end -->\nb\n")
    run("--page", page)
    (written,) = page.read_text().split("<!-- scheduler: begin -->")[1:]
    assert written.split("<!-- scheduler: end -->")[0] in (ROOT / "docs/scale.md").read_text()
