"""The benchmark's results as Markdown, and the runner that leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.running import run_script

SCRIPTS = Path(__file__).parents[2] / "scripts" / "benchmarks"


def line(**changes: Any) -> dict[str, Any]:
    usual = {
        "step": "NMS",
        "ours": "ours",
        "against": "theirs",
        "ours_s": 0.004,
        "against_s": 0.048,
        "ratio": 12.0,
        "reach": 8.0,
        "max_difference": 0.0,
    }
    return usual | changes


def write(folder: Path, name: str, lines: list[dict[str, Any]], words: str = "") -> None:
    result = {"command": f"python scripts/benchmarks/x.py {words} --json", "lines": lines}
    (folder / f"{name}.json").write_text(json.dumps(result))


def test_a_line_shows_times_ratio_and_goal_and_one_thread_has_none(tmp_path: Path) -> None:
    write(tmp_path, "nms_2t", [line()], "--threads 2")
    write(tmp_path, "nms_1t", [line()], "--threads 1")
    shown = run_script(SCRIPTS / "table.py", str(tmp_path)).splitlines()
    assert "| NMS | ours | 4.00 ms | theirs | 48.0 ms | **12** | 8 | 0 |" in shown
    assert "| NMS | ours, 1 thread | 4.00 ms | theirs | 48.0 ms | **12** |  | 0 |" in shown


def test_a_missed_goal_is_said_and_a_loss_stands_beside_its_form(tmp_path: Path) -> None:
    form, loss = "int8, dynamic", 0.5
    write(tmp_path, "fc_2t", [line(ours=form, ours_s=12.0, against_s=60.0, ratio=5.0, reach=7.0)])
    write(tmp_path, "fc_loss", [line(ours=form, max_difference=loss)])
    wanted = f"| NMS | {form} (mAP -0.50) | 12.0 s | theirs | 60.0 s | **5** | 7: missed | 0 |"
    assert wanted in run_script(SCRIPTS / "table.py", str(tmp_path)).splitlines()


def test_images_have_their_own_table_and_what_lacks_is_named(tmp_path: Path) -> None:
    write(tmp_path, "nms_2t", [line()])
    write(tmp_path, "whole_image_zf5", [line(step="network, zf5"), line(step="conv", reach=0.0)])
    shown = run_script(SCRIPTS / "table.py", str(tmp_path), "--goals")
    steps, images = shown.split("**Whole images**")
    assert "network, zf5" in images
    assert "network, zf5" not in steps
    assert "| NMS |" in steps
    assert "| conv |" not in shown
    missing = shown.splitlines()[-1]
    assert missing.startswith("Not measured: ")
    assert missing.endswith("everything on a GPU, for which `scripts/gpu/run` is ready.")
    assert "whole_image_zf5," not in missing


def test_the_tables_take_the_place_between_the_marks(tmp_path: Path) -> None:
    write(tmp_path, "nms_2t", [line()])
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- speed: begin -->\nlast week\n<!-- speed: end -->\nafter\n")
    run_script(SCRIPTS / "table.py", str(tmp_path), "--readme", str(page))
    shown = page.read_text()
    assert shown.startswith("before\n<!-- speed: begin -->\n**Steps**\n")
    assert shown.endswith("\n<!-- speed: end -->\nafter\n")
    assert "last week" not in shown


def test_a_second_machine_has_marks_of_its_own_and_lists_what_it_measured(tmp_path: Path) -> None:
    write(tmp_path, "nms_2t", [line()])
    page = tmp_path / "page.md"
    first = "<!-- speed: begin -->\nthe first\n<!-- speed: end -->\n"
    page.write_text(f"{first}<!-- other: begin -->\nold\n<!-- other: end -->\n")
    run_script(
        SCRIPTS / "table.py", str(tmp_path), "--readme", str(page), "--mark", "other", "--measured"
    )
    shown = page.read_text()
    assert shown.startswith(f"{first}<!-- other: begin -->\n**Steps**\n")
    assert "Not measured" not in shown
    assert "old" not in shown


@pytest.mark.slow
def test_a_step_that_was_measured_is_skipped(tmp_path: Path) -> None:
    words = ("nms_1t", "--quick", "--out", str(tmp_path))
    assert run_script(SCRIPTS / "run_all.py", *words).startswith("nms_1t: 2 lines")
    result = json.loads((tmp_path / "nms_1t.json").read_text())
    assert result["command"].startswith("python scripts/benchmarks/nms.py --boxes 60")
    assert {tuple(actual) for actual in result["lines"]} == {tuple(line())}
    assert not run_script(SCRIPTS / "run_all.py", *words)
