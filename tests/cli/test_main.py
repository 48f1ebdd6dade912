from __future__ import annotations

import ast
import dataclasses
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import detection
from detection import cli
from detection.cli.commands import COMMANDS
from detection.cli.main import main
from detection.config import Config
from detection.errors import ConfigError
from detection.runs.config_io import config_to_dict
from tests.cli.lines import fail


def test_help_lists_every_verb_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^  {name} +[A-Z]", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: detection {name} ")
    assert COMMANDS[name].summary.endswith(".")
    for option in COMMANDS[name].options:
        assert option.name in text
        assert option.settings["help"]


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "detection", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_no_help_imports_torch() -> None:
    code = """
import sys
from detection.cli import main
from detection.cli.commands import COMMANDS
for arguments in [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]:
    assert main(arguments) == 0
slow = {"torch", "cv2", "numpy", "sklearn", "matplotlib", "torchvision"} & set(sys.modules)
sys.exit(str(slow) if slow else 0)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr


def test_every_function_that_a_command_calls_exists() -> None:
    paths = Path(cli.__file__).parent.glob("commands/*.py")
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    imports = [n for f in functions for n in ast.walk(f) if isinstance(n, ast.ImportFrom)]
    assert len(imports) > len(COMMANDS)
    for statement in imports:
        module = importlib.import_module(str(statement.module))
        for alias in statement.names:
            assert hasattr(module, alias.name), f"{statement.module}.{alias.name}"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"detection {detection.__version__}\n"


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "detection", "nonsense"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: nonsense: expected a command")
    assert result.stdout == ""


def test_print_config_shows_files_and_options_resolved_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("svm: {c: 1e-4, epochs: 2}\n")
    (tmp_path / "b.yaml").write_text("svm: {c: 1e-5}\nfeatures: {method: rcnn}\n")
    files = ["--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")]
    options = ["--features.scales", "480,576", "--postprocess.score_threshold", "-2"]
    assert main(["train", "--print_config", *options, *files]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    expected = config_to_dict(Config())
    expected["svm"] |= {"c": 1e-5, "epochs": 2}
    expected["features"] |= {"method": "rcnn", "scales": [480, 576]}
    expected["postprocess"] |= {"score_threshold": -2.0}
    assert shown == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["propos"], "propos: expected a command; did you mean propose?"),
        (["zzz"], "zzz: expected a command (synthesize, download, check"),
        (
            ["train", "--features.metod", "rcnn"],
            "--features.metod: unknown option; did you mean --features.method?",
        ),
        (
            ["train", "--features.metod=rcnn"],
            "--features.metod: unknown option; did you mean --features.method?",
        ),
        (["train", "--svm", "3"], "--svm: unknown option"),
        (["propose", "--svm.c", "1"], "--svm.c: unknown option"),
        (["evaluate"], "the following arguments are required: run"),
        (["evaluate", "/nowhere"], "/nowhere: expected a run folder with config.yaml, got no such"),
        (["propose", "stray"], "stray: unknown argument"),
        (["train", "--svm.c", "many"], "--svm.c: expected a number, got 'many'"),
        (["train", "--svm.c"], "--svm.c: expected one argument"),
        (["train", "--svm.c", "-1"], "svm.c: expected a positive number, got -1.0"),
        (["train", "--bbox.enabled", "perhaps"], "--bbox.enabled: expected true or false"),
        (["propose", "--data.year", "MMVII"], "--data.year: expected a whole number, got 'MMVII'"),
        (["train", "--evaluation.iou", "5"], "evaluation.iou: expected an IoU in (0, 1], got 5"),
        (
            ["train", "--features.method", "rccn"],
            "--features.method: expected one of sppnet, rcnn, got 'rccn'; did you mean rcnn?",
        ),
        (
            ["train", "--config", "gone.yaml"],
            "gone.yaml: expected a file or the name of a preset, got neither",
        ),
        (["propose", "--data.root", "/nowhere/at/all"], "/nowhere/at/all: expected a folder"),
        (["synthesize", "--train_images", "0"], "--train_images: expected a whole number >= 1"),
        (["synthesize", "--svm.c", "1"], "--svm.c: unknown option"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(capsys, *arguments).startswith(message)


def test_an_option_that_is_not_yaml_is_a_wrong_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected" in fail(capsys, "train", "--features.scales", "[480")
    assert "expected" in fail(capsys, "train", "--features.scales", "480,{")


def test_a_mistake_in_a_file_names_file_and_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("features: {metod: rcnn}\n")
    expected = f"{path}: features.metod: unknown option; did you mean features.method?"
    assert fail(capsys, "train", "--config", path) == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no folder that is in use")
def test_a_current_folder_that_was_removed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["train", "--out", "run"]) == 2
    assert capsys.readouterr().err.startswith("error: the current folder has been removed;")


def test_debug_shows_where_the_error_arose() -> None:
    with pytest.raises(ConfigError):
        main(["train", "--svm.c", "-1", "--debug"])


def test_an_interrupt_is_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(
        COMMANDS, "synthesize", dataclasses.replace(COMMANDS["synthesize"], run=interrupted)
    )
    assert main(["synthesize", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_drawn_images_may_be_crowded(tmp_path):
    words = ["--train_images", "1", "--test_images", "1", "--max_objects", "40"]
    assert main(["synthesize", "--out", str(tmp_path / "crowded"), *words]) == 0
    drawn = [path.read_text() for path in (tmp_path / "crowded/Annotations").glob("*.xml")]
    assert max(text.count("<object>") for text in drawn) > 10
