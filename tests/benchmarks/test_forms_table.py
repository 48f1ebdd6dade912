"""The table of three forms against R-CNN: by hand, and on the page as its results have it."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.running import run_script

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/benchmarks/forms_table.py"
FORMS = ("exact", "cascade", "cascade, fc int8")
MEASURED = ROOT / "scripts/benchmarks/results/stages"


run = functools.partial(run_script, SCRIPT)


def sums(conv: float, network: float, image: float, **more: float) -> dict[str, Any]:
    named = {"conv_s": conv, "network_s": network, "with_proposals_s": image, **more}
    stages = {"stages": {"proposals": {"median": 0.05}, "conv": {"median": conv}}}
    return stages | {name: {"median": value} for name, value in named.items()}


def result() -> dict[str, Any]:
    floors = {"conv_s": 0.1, "network_s": 0.25, "fc_rows": 1500.0}
    theirs = {"conv_s": 15.0, "network_s": 20.0, "fc_rows": 2000.0}
    ours = sums(0.2, 0.5, 0.6, beside_s=0.55)
    return {
        "backbone": "zf5",
        "dtype": "float32",
        "threads": 2,
        "scales": [688],
        "max_boxes": 2000,
        "keep": 300,
        "num_images": 3,
        "repeats": 6,
        "rates": {"fp32": 3e11, "int8": 1.2e12},
        "environment": {"processor": "Processor"},
        "methods": {
            "sppnet": dict.fromkeys(FORMS, ours),
            "rcnn": dict.fromkeys(FORMS, sums(30.0, 40.0, 44.0)),
        },
        "floors": {
            "sppnet": dict.fromkeys(FORMS, floors),
            "rcnn": dict.fromkeys(FORMS, theirs),
        },
    }


def test_ratios_bounds_and_parts_of_floors_by_hand(tmp_path: Path) -> None:
    accuracy = {
        form: {"map": 0.586 - loss, "difference": -loss}
        for form, loss in zip(FORMS, (0.0, 0.001, 0.002), strict=True)
    }
    for name, value in (("result", result()), ("map", accuracy)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- zf5_forms: begin -->\nold\n<!-- zf5_forms: end -->\nafter\n")
    words = (str(tmp_path / "result.json"), "--map", str(tmp_path / "map.json"))
    lines = run(*words, "--page", str(page)).splitlines()
    assert "|  | conv | 200 ms | 30.0 s | **150** | 150 | 50% | 50% |  |" in lines
    assert "| exact | network | 500 ms | 40.0 s | **80** | 80 | 50% | 50% | 58.6 |" in lines
    times = "| 550 ms | 44.0 s | **80** | 80 | 45% | 45% | 58.4 (-0.2) |"
    beside = f"| image, proposals beside conv {times}"
    assert f"| cascade, fc int8 {beside}" in lines
    assert "| proposals | 50.0 ms | 50.0 ms | 50.0 ms | 50.0 ms |" in lines
    assert sum(line.startswith("| exact |") for line in lines) == 3
    text = page.read_text()
    begun = "before\n<!-- zf5_forms: begin -->\nzf5, float32, 688 pixels, 2,000 boxes;"
    assert text.startswith(begun)
    assert text.endswith("|\n<!-- zf5_forms: end -->\nafter\n")


@pytest.mark.parametrize("network", ["zf5", "alexnet", "vgg16"])
def test_the_page_shows_what_was_measured(network: str) -> None:
    page = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    begin, end = (f"<!-- {network}_forms: {edge} -->" for edge in ("begin", "end"))
    shown = page.split(f"{begin}\n")[1].split(f"\n{end}")[0]
    assert shown == run(str(MEASURED / f"{network}_forms_cpu.json")).rstrip("\n")
