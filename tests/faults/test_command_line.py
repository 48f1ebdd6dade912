"""Mistakes on the command line stop it before any work, and an installation that cannot work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import pytest

from detection.inference import proposal_prefetch as ahead
from tests.faults import stuck
from tests.faults.conftest import Trained
from tests.faults.small import fail, run

ROOT = Path(__file__).parents[2]

OUT_OF_RANGE = [
    *("--data.max_pixels=0", "--data.max_skipped=1.5", "--data.max_skipped=-0.1"),
    *("--proposals.base_k=0", "--proposals.sigma=0", "--proposals.max_boxes=-1"),
    *("--proposals.time_limit=-1", "--proposals.workers=-1", "--features.scales=0"),
    *("--features.scales=", "--features.levels=0", "--features.levels=33", "--features.power=0"),
    *("--features.context=-1", "--features.memory_gib=-1", "--features.batch_size=-1"),
    *("--svm.c=0", "--svm.c=-1", "--svm.c=inf", "--svm.c=nan", "--svm.epochs=0"),
    *("--svm.negative_iou=5", "--svm.positive_iou=5", "--svm.tolerance=1", "--svm.cache_gib=0"),
    *("--svm.max_hard=-1", "--svm.random_negatives=-1", "--svm.easy_score=1"),
    *("--bbox.ridge=0", "--bbox.min_iou=1", "--bbox.max_examples=-1", "--bbox.memory_gib=0"),
    *("--finetune.learning_rate=-1", "--finetune.learning_rate=inf", "--finetune.iterations=0"),
    *("--finetune.momentum=1", "--finetune.dropout=-0.5", "--finetune.positive_iou=0"),
    *("--finetune.negative_iou=0.5,0.1", "--finetune.decay_at=2", "--finetune.open_layers=-2"),
    *("--postprocess.nms_iou=0", "--postprocess.nms_iou=2", "--postprocess.max_per_class=0"),
    *("--evaluation.iou=0", "--evaluation.iou=5", "--evaluation.bootstrap=-1"),
    *("--data.class_names=a,a", "--backbone.seed=-1", "--features.method=rnn"),
    *("--svm.epochs=1.5", "--proposals.max_boxes=many", "--bbox.enabled=perhaps"),
]


@pytest.mark.parametrize("option", OUT_OF_RANGE)
def test_f56_a_value_out_of_range_stops_before_any_work(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = fail(capsys, "train", option, "--out", tmp_path / "run")
    assert message.startswith(option.removeprefix("--").partition("=")[0]) or message.startswith(
        option.partition("=")[0]
    )
    assert "expected" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("train", "--data.rot"),
        ("evaluate", "--evaluation.io"),
        ("propose", "--proposals.max_box"),
        ("report", "--outt"),
    ],
)
def test_f56_a_misspelt_option_is_named_with_the_nearest(
    command: str, option: str, trained_once: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [trained_once.run] if command in {"evaluate", "report"} else []
    message = fail(capsys, command, *runs, option, "1")
    assert message.startswith(f"{option}: unknown option; did you mean {option[:4]}")


IN_THE_WAY = {
    "train into a file": ("train", "--out", "{file}"),
    "train below a file": ("train", "--out", "{file}/below"),
    "evaluate into a file": ("evaluate", "{run}", "--out", "{file}"),
    "detect into a file": ("detect", "{run}", "{images}", "--out", "{file}"),
    "detect, COCO into a folder": ("detect", "{run}", "{images}", "--coco", "{folder}"),
    "benchmark below a file": ("benchmark", "--images", "{images}", "--out", "{file}/below"),
    "report into a folder": ("report", "{run}", "--out", "{folder}"),
    "browse below a file": ("browse", "--data.root", "{data}", "--out", "{file}/below"),
    "synthesize into a file": ("synthesize", "--out", "{file}"),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_f56_an_output_that_cannot_be_written_stops_before_any_work(
    trained_once: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    (tmp_path / "file").write_text("mine")
    data = trained_once.tree.root
    places = {"data": data, "images": data / "JPEGImages", "run": trained_once.run}
    places |= {"file": tmp_path / "file", "folder": tmp_path}
    message = fail(capsys, *(word.format(**places) for word in IN_THE_WAY[what]))
    assert str(tmp_path) in message
    assert "expected" in message
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("command", ["evaluate", "detect", "report"])
def test_f56_a_missing_run_is_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    inputs = [tmp_path] if command == "detect" else []
    message = fail(capsys, command, gone, *inputs)
    assert message.startswith(f"{gone}: expected ")


def test_f54_without_ximgproc_the_commands_that_mend_it_are_said(
    trained_once: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    boxes = ("--proposals.folder", tmp_path / "boxes", "--proposals.backend", "opencv")
    message = fail(capsys, "propose", *trained_once.where[:2], *boxes)
    assert "cv2.ximgproc" in message
    assert "pip install" in message
    assert not (tmp_path / "boxes").exists()


def test_f54_a_torchvision_for_another_torch_is_said_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    text = 'raise RuntimeError("operator torchvision::nms does not exist")\n'
    (tmp_path / "torchvision" / "__init__.py").write_text(text)
    for name in ("train", "val"):
        (tmp_path / "images" / name).mkdir(parents=True)
    words = ["--pretrain.root", tmp_path / "images", "--out", tmp_path / "run"]
    done = subprocess.run(
        [sys.executable, "-m", "detection", "pretrain", *words],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: torchvision: expected one that fits torch, got torch ")
    assert "operator torchvision::nms does not exist" in line
    assert "pip install" in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_f46_a_photograph_over_the_time_limit_is_named_and_the_others_are_finished(
    trained_once: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    monkeypatch.setattr(ahead, "find", stuck.find)
    images = [tmp_path / f"{name}.png" for name in ("first", "second", "third")]
    for path in images:
        path.touch()
    options = ("--proposals.time_limit", "2", "--proposals.workers", workers, "--no_drawings")
    out = tmp_path / "found"
    assert run("detect", trained_once.run, *images, *options, "--out", out) == 1
    (message,) = re.findall(r"^error: (.*)$", capsys.readouterr().err, re.MULTILINE)
    assert message.startswith(f"{images[0]}: expected its boxes within 2 s, got none; raise ")
    assert list(json.loads((out / "detections.json").read_text())) == list(map(str, images[1:]))


def test_f46_a_reading_process_that_is_killed_is_named_by_its_image(
    trained_once: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken:
        def result(self, timeout: float | None) -> None:
            message = "A process in the process pool was terminated abruptly"
            raise BrokenProcessPool(message)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", lambda *_: Broken())
    images = sorted((trained_once.tree.root / "JPEGImages").glob("*.jpg"))
    options = ("--proposals.workers", "2", "--proposals.backend", "opencv")
    options += ("--out", tmp_path / "found")
    message = fail(capsys, "detect", trained_once.run, *images, *options)
    assert message.startswith(f"{images[0]}: the process that read it was killed")
    assert "fewer proposals.workers" in message
