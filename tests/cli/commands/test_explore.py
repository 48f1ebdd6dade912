"""The command that shows units: what it passes on, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from detection.cli.main import main
from detection.features.units import Bin
from detection.inference import explore
from detection.model_io import save_detector
from detection.runs.config_io import write_config
from detection.tiny import tiny_detector
from tests.cli.lines import fail


@pytest.fixture
def run(tmp_path: Path) -> Path:
    detector = tiny_detector()
    save_detector(tmp_path / "model.safetensors", detector)
    (tmp_path / "config.yaml").write_text(write_config(detector.config))
    (tmp_path / "data").mkdir()
    return tmp_path


def test_options_reach_the_search(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[dict[str, object]] = []
    monkeypatch.setattr(explore, "show_units", lambda *_, **options: seen.append(options))
    out = run / "page.html"
    words = ["explore", "pool5", str(run), "--out", str(out), "--data.root", str(run / "data")]
    assert main(words) == 0
    assert main([*words, "--bin", "6", "2", "3", "--channels", "4", "5", "--top", "9"]) == 0
    assert [options["where"] for options in seen] == [None, Bin(level=6, row=2, column=3)]
    assert [options["channels"] for options in seen] == [(), (4, 5)]
    assert [(options["top"], options["num_units"]) for options in seen] == [(16, 8), (9, 8)]
    assert capsys.readouterr().out.splitlines() == 2 * [f"{out}: written"]


def test_a_layer_without_units_to_show_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "pool5" in fail(capsys, "explore", "fc7", str(run))


def test_no_units_at_all_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = fail(capsys, "explore", "pool5", str(run), "--num_units", "0")
    assert "expected a whole number >= 1, got '0'" in message
