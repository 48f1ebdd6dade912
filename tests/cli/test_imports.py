"""What each command imports: modules that cost seconds are for those that need them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from detection.cli.commands import COMMANDS
from detection.cli.main import main

HEAVY = ("torch", "torchvision", "numba", "cv2", "scipy", "sklearn", "matplotlib", "pycocotools")


def imported(code: str, heavy: tuple[str, ...] = HEAVY) -> set[str]:
    """The heavy modules that a new interpreter has after some code."""
    report = f"import sys; print(*(set({heavy!r}) & set(sys.modules)), file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(result.stderr.splitlines()[-1].split())


def after(*commands: tuple[str, ...]) -> set[str]:
    return imported(
        f"from detection.cli import main\nfor words in {commands!r}: assert main(list(words)) == 0",
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    assert (
        main(["synthesize", "--out", str(root), "--train_images", "12", "--test_images", "12"]) == 0
    )
    return root


def test_help_imports_nothing_that_is_slow() -> None:
    assert after(("--help",), *((name, "--help") for name in COMMANDS)) == set()


def test_commands_on_presets_and_weights_import_nothing_that_is_slow(tmp_path: Path) -> None:
    assert after(("configs",), ("configs", "synthetic_rcnn")) == set()
    assert after(("weights", "list"), ("weights", "list", "--folder", str(tmp_path))) == set()


def test_the_list_of_tables_imports_nothing_that_is_slow() -> None:
    assert after(("reproduce", "--list")) == set()


def test_check_imports_nothing_that_is_slow(data: Path) -> None:
    words = ("check", "--data.root", str(data), "--proposals.workers", "1")
    assert after(words, (*words, "--no_decoding")) <= {"torch"}


def test_the_package_imports_nothing_that_is_slow() -> None:
    assert imported("import detection; detection.DetectionError") == set()


def test_the_detector_imports_nothing_of_training_or_drawing() -> None:
    unneeded = ("torchvision", "sklearn", "matplotlib", "pycocotools", "joblib", "jinja2")
    assert imported("from detection import Detector, load, read_image", unneeded) == set()


def test_a_path_that_is_not_there_is_said_before_anything_slow_is_imported(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/config.yaml").write_text(f"data: {{root: {data}}}\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("data: {root: gone}\npretrain: {root: gone}\n")
    (tmp_path / "run/model.safetensors").write_bytes(b"")
    cases = [
        *(f"{name} --data.root gone" for name in ("train", "browse", "propose", "classify-eval")),
        *(f"{name} --config gone" for name in ("train", "check", "pretrain", "benchmark")),
        *("pretrain", "pretrain --pretrain.source objects --data.root gone"),
        *("benchmark --images gone", "report gone", "report run gone"),
        *("evaluate gone", "evaluate begun", "evaluate run", "evaluate run gone --out both"),
        *("detect gone a.jpg", "detect begun a.jpg", "detect run gone.jpg"),
        *("explore pool5 gone", "explore pool5 begun", "explore pool5 run"),
        *("serve gone", "serve begun", "serve run gone", "serve run --examples gone"),
        *("export gone --format onnx --out x", "export begun --format onnx --out x"),
        *("features gone.jpg", "features a.jpg --run gone", "features a.jpg --run begun"),
        *("classify-views gone", "classify-views begun", "classify-views run"),
        *("weights import gone --backbone alexnet --out x.safetensors", "reproduce gone"),
        f"convert {data} --to voc --out voc --detections gone.json",
    ]
    code = f"""
import os, sys
from detection.cli import main
os.chdir({str(tmp_path)!r})
for words in {cases!r}:
    assert main(words.split()) == 2, words
    assert not {{*{HEAVY!r}}} & set(sys.modules), words
"""
    assert imported(code) == set()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "run"]
