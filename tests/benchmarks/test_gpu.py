"""``scripts/gpu``: the command for a machine with a GPU, run on the fake one, and its parts."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from detection.data.images import read_image
from detection.structures import Detections
from tests.faults.small import write_tree

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "gpu"
FIELDS: dict[str, set[str]] = {
    "machine": {"compile_s", "first_product_s", "triton"},
    "tests": {"first", "rest"},
    "subset_sppnet": {"map", "interval", "cpu", "seconds", "peak_gib", "dtype", "agreement"},
    "subset_rcnn": {"map", "interval", "cpu", "seconds", "peak_gib", "dtype"},
    "pooling": {"command", "lines"},
    "methods": {"cases"},
    "throughput": {"images_s", "seconds", "median_boxes", "busy_share", "peak_gib", "dtype"},
}


def command(name: str, *words: object, **variables: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    environment |= {key: str(value) for key, value in variables.items()}
    line = [str(SCRIPTS / name), *map(str, words)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a script, and forget it after the test: others have the same names."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for other in ("common", name):
        monkeypatch.delitem(sys.modules, other, raising=False)
    module = importlib.import_module(name)
    for other in ("common", name):
        if other in sys.modules:
            monkeypatch.setitem(sys.modules, other, sys.modules[other])
            monkeypatch.delitem(sys.modules, other)
    return module


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_step_runs_on_the_fake_gpu_and_leaves_its_fields(tmp_path: Path) -> None:
    out = tmp_path / "results"
    ran = command("run", "--device", "fakegpu", "--smoke", WORK=tmp_path / "work", OUT=out)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr
    assert len(list(out.iterdir())) <= 8
    actual = {
        path.stem.removeprefix("gpu_"): json.loads(path.read_text())
        for path in out.glob("gpu_*.json")
    }
    assert actual.keys() == FIELDS.keys()
    for name, result in actual.items():
        assert {"card", "smoke", "environment"} | FIELDS[name] <= result.keys(), name
        assert (result["card"], result["smoke"]) == ("fakegpu", True)
    check_values(actual)
    shown = (out / "log.txt").read_text()
    assert "--- whole images: at most" in shown
    assert "detection train" in shown


def check_values(actual: dict[str, Any]) -> None:
    for part in ("first", "rest"):
        counts = actual["tests"][part]
        assert counts["complete"]
        assert counts["passed"] > 0 == counts["failed"]
    for method in ("sppnet", "rcnn"):
        seconds = actual[f"subset_{method}"]["seconds"]
        assert {"proposals", "train", "evaluate"} <= seconds.keys()
    same = actual["subset_sppnet"]["agreement"]
    assert same["num_detections"] > 10
    assert same["num_apart"] == 0
    assert same["max_score_difference"] < 1e-3
    (case,) = actual["methods"]["cases"]
    against = case["against_operations"]
    assert against["conv"]["flops"] == case["ratios"]["conv_flops"]
    assert against["network"]["share"] == pytest.approx(
        against["network"]["ratio"] / against["network"]["bound"]
    )
    assert actual["throughput"]["images_s"] > 0
    assert {"step", "against", "ratio", "reach"} <= actual["pooling"]["lines"][0].keys()


def test_a_step_for_which_no_time_is_left_is_said(tmp_path: Path) -> None:
    ran = command("run", "--seconds", "4", WORK=tmp_path / "work")
    assert ran.returncode == 1
    lines = ran.stdout.splitlines()
    assert "--- throughput: left out, the time is up" in lines
    assert lines[-1].startswith("not complete: packages; machine; tests that matter first; SPPnet")
    assert (tmp_path / "work" / "results" / "log.txt").exists()


@pytest.mark.parametrize("name", ["run", "bundle"])
def test_an_unknown_option_is_one_line(name: str, tmp_path: Path) -> None:
    ran = command(name, "--fast", WORK=tmp_path)
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("error: --fast: expected --")


def test_a_bundle_holds_smaller_photographs_with_their_annotations(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "voc", train=2, test=1)
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(b"weights")
    out = tmp_path / "bundle"
    ran = command("bundle", tree.root, weights, "--out", out, "--wheels", "")
    assert ran.returncode == 0, ran.stderr
    assert (out / "weights" / "net.safetensors").read_bytes() == b"weights"
    copy = out / "VOCdevkit" / "VOC2012"
    assert (copy / "Annotations" / "000001.xml").exists()
    assert (copy / "ImageSets" / "Main" / "test.txt").read_text() == "000003\n"
    for number in (1, 2, 3):
        paths = [folder / "JPEGImages" / f"{number:06d}.jpg" for folder in (tree.root, copy)]
        before, after = (path.stat().st_size for path in paths)
        assert after < before
        sizes = [read_image(path, "a").size for path in paths]
        assert sizes[0] == sizes[1]


def test_a_bundle_that_is_too_large_is_refused(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "voc", train=1, test=1)
    weights = tmp_path / "net.safetensors"
    with weights.open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    ran = command("bundle", tree.root, weights, "--out", tmp_path / "bundle", "--wheels", "")
    assert ran.returncode == 1
    assert "expected 64 MiB at most, got 64" in ran.stderr


def test_wheels_of_what_is_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["torch-1.0-py3-none-any.whl", "no_such_thing-1.0-py3-none-any.whl"]
    missing = load("wheels", monkeypatch).missing([Path(name) for name in names])
    assert [path.name for path in missing] == names[1:]


def test_detections_of_two_devices_are_compared_class_by_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def actual(*rows: tuple[float, float, int]) -> Detections:
        lefts, scores, labels = zip(*rows, strict=True)
        boxes = [[left, 0.0, left + 20.0, 20.0] for left in lefts]
        return Detections(
            image_id="a",
            boxes=torch.tensor(boxes),
            scores=torch.tensor(scores),
            labels=torch.tensor(labels),
        )

    here = actual((0.0, 0.75, 0), (50.0, 0.5, 0), (90.0, 0.25, 1), (10.0, 0.1, 2))
    there = actual((50.5, 0.625, 0), (0.0, 0.75, 0), (95.0, 0.25, 1))
    compared = load("subset", monkeypatch).compare_detections(here, there)
    # of class 1 the box is 5 pixels off, of class 2 there is none
    assert compared == {"count": 4, "apart": 2, "box": 0.5, "score": 0.125}


def test_the_bound_is_the_ratio_of_all_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    median = {"network_s": {"median": 1.0}, "without_proposals_s": {"median": 2.0}}
    slower = {"network_s": {"median": 9.0}, "without_proposals_s": {"median": 12.0}}
    result = {
        "flops": {"sppnet": {"conv": 10.0, "fc": 20.0}, "rcnn": {"conv": 300.0, "fc": 60.0}},
        "median_boxes": 600,
        "unbroken": {"sppnet": median, "rcnn": slower},
        "ratios": {"conv_s": 15.0, "conv_flops": 30.0},
    }
    actual = load("methods", monkeypatch).compare_methods(result, rate=10.0)
    assert actual["conv"] == {"ratio": 15.0, "flops": 30.0, "share": 0.5}
    assert actual["network"] == {"ratio": 9.0, "bound": 360 / 30, "share": 0.75}
    assert actual["image"] == {"ratio": 6.0}
    assert actual["bound_few_boxes"] == 360 / (10 + 20 / 2)
    assert actual["floor_s"] == {"sppnet": 3.0, "rcnn": 36.0}


def test_a_suite_that_is_cut_off_leaves_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gpu_tests.json"
    path.write_text('{"card": "H", "first": 1}')
    module = load("tally", monkeypatch)
    monkeypatch.setattr(module, "EVERY_S", -1.0)
    tally = module.Tally(path, "rest", "H")
    for when, outcome, keywords in (
        ("setup", "passed", {}),
        ("call", "passed", {"gpu": 1}),
        ("teardown", "passed", {}),
        ("setup", "skipped", {}),
        ("call", "failed", {}),
        ("setup", "failed", {}),
    ):
        report = SimpleNamespace(when=when, outcome=outcome, keywords=keywords, nodeid="t")
        tally.pytest_runtest_logreport(report)
    written = json.loads(path.read_text())
    assert (written["card"], written["first"]) == ("H", 1)
    assert written["rest"].pop("seconds") >= 0
    expected = {"passed": 1, "failed": 2, "skipped": 1, "gpu_passed": 1}
    assert written["rest"] == {**expected, "failures": ["t", "t"], "complete": False}
    tally.pytest_sessionfinish()
    assert json.loads(path.read_text())["rest"]["complete"]


def pooling(ours: str, against: str, ratio: float, reach: float) -> dict[str, Any]:
    step = "SPP pooling A"
    return {"step": step, "ours": ours, "against": against, "ratio": ratio, "reach": reach}


RESULTS: dict[str, dict[str, Any]] = {
    "subset_sppnet": {
        "map": {"voc07": 0.411},
        "cpu": {"map": {"voc07": 0.406}, "interval": [0.374, 0.482]},
        "seconds": {"train": 31.4},
        "peak_gib": {"train": 3.25},
    },
    "pooling": {
        "lines": [
            pooling("pool, as called", "roi_pool x4", 2.0, 3.0),
            pooling("pool, GPU time", "roi_pool x4", 4.0, 3.0),
            pooling("pool, as called", "memory floor", 0.5, 0.33),
            pooling("other, GPU time", "roi_pool x4", 9.0, 0.0),
        ]
    },
    "methods": {
        "cases": [
            {
                "backbone": "zf5",
                "dtype": "bfloat16",
                "against_operations": {
                    "conv": {"ratio": 90.0, "flops": 146.1, "share": 0.616},
                    "network": {"ratio": 10.0, "bound": 15.2, "share": 0.657},
                },
            }
        ]
    },
    "tests": {
        "first": {"passed": 5, "gpu_passed": 2, "failed": 0, "complete": True},
        "rest": {"passed": 7, "gpu_passed": 0, "failed": 1, "complete": False},
    },
}


def show(*words: object) -> list[str]:
    line = [sys.executable, str(SCRIPTS / "table.py"), *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_the_table_without_results_says_that_nothing_ran(tmp_path: Path) -> None:
    (tmp_path / "gpu_throughput.json").write_text('{"card": "fakegpu", "smoke": true}')
    lines = show(tmp_path)
    assert lines[0] == "**Not yet run on a GPU**"
    rows = [line for line in lines if line.startswith("| ")][2:]
    assert len(rows) == 14
    assert all(line.endswith("| not yet run |") for line in rows)
    page = (ROOT / "docs" / "speed.md").read_text()
    if not list((ROOT / "docs" / "results").glob("gpu_*.json")):
        assert "\n".join(lines) in page


def test_the_table_shows_what_was_measured_beside_goal_and_bound(tmp_path: Path) -> None:
    for name, values in RESULTS.items():
        (tmp_path / f"gpu_{name}.json").write_text(json.dumps({"card": "H100"} | values))
    lines = show(tmp_path)
    assert lines[0] == "**Measured on H100**"
    cells = {line.split(" | ")[0]: line.split(" | ")[-1] for line in lines}
    assert cells["| SPPnet, subset, mAP (11-point)"] == "41.1; CPU 40.6, 37.4 to 48.2 |"
    assert cells["| SPPnet, subset, training after proposals"] == "31 s, 3.2 GiB |"
    four = "| pooling of 2,000 boxes, `roi_pool` called four times over ours"
    assert cells[four] == "A: 4x |"
    assert cells["| pooling of 2,000 boxes, the memory floor over ours"] == "A: 0.5x |"
    assert cells["| ZF-5, conv layers, R-CNN over SPPnet"] == "bfloat16: 90x of 146x, 0.62 |"
    assert cells["| ZF-5, network; the paper's 102x"] == "bfloat16: 10.0x of 15.2x, 0.66 |"
    expected = "12 passed, 2 of them for GPUs alone, 1 failed; cut off by the time limit |"
    assert cells["| tests"] == expected
    assert cells["| VGG16, network"] == "not yet run |"


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- gpu: begin -->\nold\n<!-- gpu: end -->\nb\n")
    assert show(tmp_path, "--page", page) == []
    text = page.read_text()
    assert text.startswith("a\n<!-- gpu: begin -->\n**Not yet run on a GPU**\n")
    assert text.endswith("\n<!-- gpu: end -->\nb\n")
    assert "old" not in text
