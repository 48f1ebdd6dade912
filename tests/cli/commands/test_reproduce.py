"""The command on the papers' tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detection.cli.main import main
from detection.reproduce import run
from detection.reproduce.tables import TABLES
from tests.cli.lines import fail


def test_list_shows_every_table_and_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--list"]) == 0
    text = capsys.readouterr().out
    for table in TABLES.values():
        assert f"\n{table.name}: {table.title}" in f"\n{text}"
        assert all(f"  {row.name}" in text for row in table.rows)


def test_no_table_and_an_unknown_one_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--list shows all" in fail(capsys, "reproduce")
    assert "did you mean ladder?" in fail(capsys, "reproduce", "lader")


def test_a_table_that_cannot_run_here_says_why_and_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["reproduce", "spp-table-12", "--out", "tables", "--data", "subset"]
    assert main(words) == 1
    text = capsys.readouterr().out
    assert "cannot run here: data/voc2012-subset/VOCdevkit: no such folder" in text
    assert "cannot run here: data/weights/zf5_second.safetensors: no such file" in text
    assert "$ detection train --config paper/sppnet_zf5_5scale --data.root" in text
    values = json.loads((tmp_path / "tables/spp-table-12.json").read_text(encoding="utf-8"))
    assert [row["paper"] for row in values["rows"]] == [59.2, 59.1, 60.9]
    assert (tmp_path / "tables/spp-table-12.html").is_file()


def test_a_table_on_another_trunk_is_another_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["reproduce", "rcnn-table-2", "--trunk", "squeezenet", "--out", "tables"]
    assert main([*words, "--data", "subset", "--rows", "R-CNN, fc6", "R-CNN, pool5"]) == 1
    text = capsys.readouterr().out
    assert "\nrcnn-table-2-squeezenet: R-CNN layer by layer" in text
    assert "not possible: the weights of squeezenet have no fc6" in text
    assert "squeezenet1_0_imagenet_caffe.safetensors: no such file" in text
    command = "$ detection train --config paper/rcnn_alexnet --config trunks/squeezenet --data.root"
    assert command in text
    assert "--out tables/trainings/rcnn-squeezenet-pool5 --resume" in text
    values = json.loads((tmp_path / "tables/rcnn-table-2-squeezenet.json").read_text())
    assert {row["row"]: row["state"] for row in values["rows"]} == {
        "R-CNN, pool5": "missing",
        "R-CNN, fc6": "impossible",
    }


def test_a_table_of_impossible_rows_alone_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "rcnn-table-2", "--trunk", "squeezenet", "--out", str(tmp_path)]
    assert main([*words, "--rows", "R-CNN, fc6"]) == 0
    assert "not possible" in capsys.readouterr().out


def test_a_trunk_that_does_not_go_with_the_rest_is_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "did you mean squeezenet?" in fail(
        capsys, "reproduce", "spp-table-9", "--trunk", "squeeze_net"
    )
    words = ("reproduce", "spp-tables-2-4", "--trunk", "squeezenet")
    assert "which is about its own networks" in fail(capsys, *words)


def test_a_classifier_says_where_imagenet_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "spp-tables-2-4", "--rows", "no SPP"]) == 1
    assert "data/imagenet/train: no such folder; ImageNet goes there" in capsys.readouterr().out


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "reproduce", interrupted)
    assert main(["reproduce", "ladder", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.splitlines() == [
        "to continue: the same command",
        "error: interrupted",
    ]


def test_settings_of_the_command_line_hold_for_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(run, "reproduce", lambda table, choices: seen.append(choices) or [])
    words = ["reproduce", "ladder", "--out", str(tmp_path), "--config", "synthetic_rcnn"]
    assert main([*words, "--features.scales", "240", "--data", "synthetic"]) == 0
    (choices,) = seen
    assert choices.given == {"features": {"scales": (240,)}}
    assert choices.files == ("synthetic_rcnn",)
    assert choices.from_files["backbone"]["name"] == "alexnet"
    assert (choices.data, choices.out) == ("synthetic", tmp_path)
