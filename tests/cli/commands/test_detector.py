from __future__ import annotations

import os
from pathlib import Path

import pytest

from detection.cli.main import main
from detection.io.files import FolderLock
from tests.cli.lines import fail


def test_weights_that_are_missing_are_named_before_the_long_search_for_boxes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root, store, gone = tmp_path / "data", tmp_path / "store", tmp_path / "gone.safetensors"
    counts = ["--train_images", "6", "--test_images", "1"]
    assert main(["synthesize", "--out", str(root), *counts]) == 0
    arguments = ["--data.root", root, "--proposals.folder", store, "--out", tmp_path / "run"]
    assert main(["train", *map(str, arguments), "--backbone.weights", str(gone)]) == 2
    assert str(gone) in capsys.readouterr().err
    assert not store.exists()


def test_training_into_a_folder_that_is_locked_or_full_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    root = tmp_path / "data"
    root.mkdir()
    command = ("train", "--config", "synthetic_sppnet", "--data.root", root, "--out", out)
    with FolderLock(out):
        assert f"{out}: locked by pid {os.getpid()}" in fail(capsys, *command)
    (out / "thesis.tex").write_text("x")
    line = fail(capsys, *command)
    assert "expected an empty folder" in line
    assert "--resume" in line
    assert (out / "thesis.tex").read_text() == "x"


def test_a_file_where_the_run_folder_should_be_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert str(tmp_path / "file") in fail(capsys, "train", "--out", tmp_path / "file")
