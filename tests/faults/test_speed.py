"""Times that flatter nobody: what is warmed up, waited for and counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from detection.benchmark import speed
from detection.benchmark.clock import StageClock
from detection.detector import Detector
from detection.proposals import store
from tests.faults.conftest import Trained
from tests.faults.small import SETTINGS, fail, run

STAGES = {
    "sppnet": {"decode", "proposals", "resize", "conv", "projection", "pooling", "fc", "svm"},
    "rcnn": {"decode", "proposals", "warp", "conv", "fc", "svm"},
}


def test_f57_a_gpu_is_waited_for_before_a_stage_begins_and_before_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: order.append("wait"))
    monkeypatch.setattr(
        "detection.benchmark.clock.time.perf_counter", lambda: float(order.append("clock") or 0)
    )
    with StageClock(torch.device("cuda")).stage("conv"):
        order.append("work")
    assert order == ["wait", "clock", "work", "wait", "clock"]


def test_f57_every_stage_is_timed_apart_after_a_warm_up_and_without_caches(
    trained_once: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clocked: list[str] = []
    whole = Detector.detect

    def noted(self: Detector, *arguments: object) -> object:
        clocked.append(self.config.features.method)
        return whole(self, *arguments)

    def stored(*_: object) -> None:
        pytest.fail("a stored result was read")

    monkeypatch.setattr(Detector, "detect", noted)
    monkeypatch.setattr(store.ProposalStore, "load", stored)
    images = trained_once.tree.root / "JPEGImages"
    options = list(SETTINGS[: SETTINGS.index("--svm.norm_images")])
    out = tmp_path / "out"
    assert run("benchmark", *options, "--images", images, "--num_images", 2, "--out", out) == 0
    methods = clocked[:2]
    assert sorted(methods) == ["rcnn", "sppnet"]
    assert clocked == methods * 3  # a warm-up that is not counted, then one for each image
    values = json.loads((out / "benchmark.json").read_text())
    assert (values["num_images"], values["repeats"]) == (2, 1)
    for method, stages in STAGES.items():
        timed = values["methods"][method]["stages"]
        assert stages <= timed.keys()
        assert all(timed[stage]["median"] > 0 for stage in stages - {"fc"})
        parts = [timed[stage]["median"] for stage in speed.SHARED]
        with_boxes = values["methods"][method]["with_proposals_s"]["median"]
        without = values["methods"][method]["without_proposals_s"]["median"]
        assert with_boxes > without
        assert with_boxes - without <= 2.1 * sum(parts)
    printed = capsys.readouterr().out
    assert "2 images" in printed
    assert "1 repeat\n" in printed
    assert "image, without proposals" in printed
    assert "image, with proposals" in printed


def test_f57_the_number_of_photographs_is_that_of_the_folder(trained_once: Trained) -> None:
    paths = sorted((trained_once.tree.root / "JPEGImages").glob("*.jpg"))
    assert speed.spread(paths, 100) == paths
    assert speed.spread(paths, 1) == paths[:1]
    assert speed.spread(paths, 3) == [paths[0], paths[3], paths[6]]


def test_f57_nothing_to_time_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    message = fail(capsys, "benchmark", "--images", tmp_path / "empty", "--out", tmp_path / "out")
    assert str(tmp_path / "empty") in message
