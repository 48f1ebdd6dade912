from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from detection.cli.main import main
from tests.cli.lines import fail


def test_synthesize_and_propose_work_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    counts = ["--train_images", "12", "--test_images", "1"]
    assert main(["synthesize", "--out", str(root), *counts]) == 0
    folder = tmp_path / "boxes"
    options = ["--data.root", str(root), "--proposals.folder", str(folder)]
    assert main(["propose", *options, "--proposals.workers", "1", "--splits", "test"]) == 0
    assert "recall at IoU" in capsys.readouterr().out
    assert len(list(folder.rglob("*.safetensors"))) == 1


def test_propose_and_check_share_their_images_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "data")
    main(["synthesize", "--out", root, "--train_images", "12", "--test_images", "3"])
    shared = ["--parallel", "processes", "--workers", "1", "--shard", "2"]
    said = []
    for words in ([], shared):
        capsys.readouterr()
        boxes = tmp_path / f"boxes{len(words)}"
        folder = ["--proposals.folder", str(boxes), "--proposals.workers", "1"]
        assert main(["propose", "--data.root", root, *folder, *words, "--splits", "test"]) == 0
        proposed = capsys.readouterr().out.replace(str(boxes), "")
        out = ["--out", str(tmp_path / "out")]
        assert main(["check", "--data.root", root, *words, *out]) == 0
        files = {path.name: path.read_bytes() for path in boxes.rglob("*.safetensors")}
        said.append((proposed, capsys.readouterr().out, files))
    assert said[0] == said[1]
    assert len(said[0][2]) == 3
    assert len(list((tmp_path / "out/shards").rglob("*.jsonl"))) == 6 + 2


def test_an_unknown_class_is_refused_with_the_nearest_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    assert (
        main(["synthesize", "--out", str(root), "--train_images", "2", "--test_images", "1"]) == 0
    )
    capsys.readouterr()
    names = {
        name
        for path in (root / "Annotations").rglob("*.xml")
        for name in re.findall(r"<object>\s*<name>(\w+)", path.read_text())
    }
    misspelt = ",".join(f"{name}x" for name in sorted(names))
    line = fail(capsys, "propose", "--data.root", root, "--data.class_names", misspelt)
    assert ".xml: object " in line
    assert inspect.cleandoc(line) == line
