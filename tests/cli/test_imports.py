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
    return set(result.stderr.split())


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
