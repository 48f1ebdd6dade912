"""The goals that were missed, and their floors: the table on the page, and each line measured."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from tests.benchmarks.running import run_script
from tests.data.folders import picture

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/benchmarks/bars.py"
STORED = ROOT / "scripts/benchmarks/results/bars.json"


run = functools.partial(run_script, SCRIPT)


def test_a_line_by_hand(tmp_path: Path) -> None:
    lines = [
        {"name": "a", "goal": 2, "ratio": 1.24, "most": 1.27, "why": "b"},
        {"name": "c", "goal": 12, "ratio": 15.1, "most": 16.0, "why": "d"},
    ]
    stored, page = tmp_path / "bars.json", tmp_path / "page.md"
    stored.write_text(json.dumps({"lines": lines}))
    page.write_text("x\n<!-- bars: begin -->\nold\n<!-- bars: end -->\n")
    shown = run("--show", "--out", stored, "--page", page).splitlines()
    assert shown[2:] == [
        "| a | 2 | **1.24** | 1.27 | b |",
        "| c | 12: reached | **15.1** | 16 | d |",
    ]
    assert page.read_text().splitlines()[2:-1] == shown


def test_the_page_shows_what_was_measured() -> None:
    page = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    shown = page.split("<!-- bars: begin -->\n")[1].split("\n<!-- bars: end -->")[0]
    there = STORED.exists()
    expected = run("--show", "--out", STORED).rstrip("\n") if there else "Not measured yet."
    assert shown == expected


@pytest.mark.slow
def test_every_line_is_measured(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    picture(120, 90).save(tmp_path / "images/a.png")
    out = tmp_path / "bars.json"
    sizes = ("--rois", 20, "--feature-dim", 64, "--size", 32, "--num-images", 1, "--repeats", 1)
    run(tmp_path / "images", *sizes, "--out", out)
    lines = json.loads(out.read_text())["lines"]
    names = [line["name"] for line in lines]
    assert len(names) == len(set(names)) == 12
    assert all(line["ratio"] > 0 and line["most"] > 0 and line["why"] for line in lines)
