"""Presets are found by name, from a clone and from what an installation copies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from detection.cli.main import main
from detection.config import Config
from detection.errors import ConfigError
from detection.runs import presets
from detection.runs.config_io import apply, config_to_dict, read_config_file
from tests.cli.lines import fail

ROOT = Path(__file__).parents[2]
RESULTS = {
    "subset_rcnn_squeezenet": "subset_rcnn_300",
    "subset_sppnet_lite0": "subset_sppnet_lite0",
    "subset_sppnet_lite0_multiscale": "subset_sppnet_lite0_multiscale",
    "subset_sppnet_squeezenet": "subset_sppnet",
    "subset_sppnet_squeezenet_fc": "subset_sppnet_fc",
    "subset_sppnet_squeezenet_finetuned": "subset_sppnet_finetuned",
    "subset_sppnet_squeezenet_voting": "subset_sppnet_voting",
}


@pytest.fixture
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "WEIGHTS", "no-such-distribution")


@pytest.fixture
def with_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "WEIGHTS", "detection")  # a module that is there


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, object]]:
    assert main(["train", "--print_config", *arguments]) == 0
    values: dict[str, dict[str, object]] = yaml.safe_load(capsys.readouterr().out)
    return values


@pytest.mark.parametrize(
    "name",
    [
        "paper/sppnet_zf5_1scale",
        "configs/paper/sppnet_zf5_1scale.yaml",
        "paper/sppnet_zf5_1scale.yaml",
    ],
)
def test_a_name_leads_to_the_file(name: str) -> None:
    assert presets.find_preset(name) == ROOT / "configs/paper/sppnet_zf5_1scale.yaml"


def test_a_path_that_exists_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert presets.find_config(Path("synthetic_rcnn")).is_relative_to(ROOT)
    Path("synthetic_rcnn").write_text("svm: {c: 1}\n")
    assert presets.find_config(Path("synthetic_rcnn")) == Path("synthetic_rcnn")


def test_a_folder_of_the_same_name_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_weights: None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    assert presets.find_config(Path("own")).name == "own_sppnet_lite0.yaml"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ownn", "own?"),
        ("sppnet_zf5_5scale", "paper/sppnet_zf5_5scale or "),
        ("subset_sppnet_lite", "subset_sppnet_lite0"),
        ("zzz", "`detection configs` lists them"),
    ],
)
def test_an_unknown_name_lists_near_ones(
    name: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert near in fail(capsys, "train", "--config", name)
    with pytest.raises(ConfigError, match=f"^{name}: expected a file or the name of a preset"):
        presets.find_preset(name)


@pytest.mark.usefixtures("with_weights")
def test_train_starts_from_own_where_nothing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    own = read_config_file(ROOT / "configs/own_sppnet_lite0.yaml")
    expected = config_to_dict(apply(Config(), own))
    assert printed(capsys) == expected
    expected["svm"]["c"] = 2.0
    assert printed(capsys, "--svm.c", "2") == expected


@pytest.mark.parametrize(
    "named", [("--backbone.name", "alexnet"), ("--features.method", "sppnet"), ("--config", "FILE")]
)
def test_train_starts_from_the_defaults_where_something_is(
    named: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.yaml").write_text("")
    words = [word.replace("FILE", str(tmp_path / "empty.yaml")) for word in named]
    assert printed(capsys, *words)["finetune"] == config_to_dict(Config())["finetune"]


@pytest.mark.usefixtures("without_weights")
def test_without_its_weights_own_is_a_preset_that_needs_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "--config", "own_quick", "--print_config"]) == 0
    captured = capsys.readouterr()
    assert yaml.safe_load(captured.out)["backbone"]["name"] == "squeezenet"
    assert captured.err.startswith(
        "warning: own_quick: own_sppnet_squeezenet instead of own_sppnet"
    )
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(("name", "result"), RESULTS.items())
def test_published_scores_are_those_of_the_stored_results(name: str, result: str) -> None:
    stored = json.loads((ROOT / f"docs/results/{result}.json").read_text())
    (preset,) = (one for one in presets.list_presets() if one.name == name)
    score = f"{100 * stored['map']['voc07']:.1f}"
    assert preset.published == f"11-point mAP: {score} on the subset's val"
    low, high = (f"{100 * value:.1f}" for value in stored["interval"])
    assert f"{score} ({low} to {high}" in preset.path.read_text(encoding="utf-8")


def test_every_preset_of_a_paper_says_what_the_paper_reached() -> None:
    of_papers = [p for p in presets.list_presets() if p.name.startswith(("paper/", "released_"))]
    assert len(of_papers) == 11
    assert all("mAP: " in preset.published for preset in of_papers)


def test_what_is_built_holds_every_preset(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    built = {
        p.relative_to(tmp_path / "detection/configs") for p in tmp_path.rglob("configs/**/*.yaml")
    }
    assert built == {p.relative_to(ROOT / "configs") for p in (ROOT / "configs").rglob("*.yaml")}
    code = "from detection.runs.presets import find_preset; print(find_preset('synthetic_rcnn'))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.stdout.strip() == str(tmp_path / "detection/configs/synthetic_rcnn.yaml")
