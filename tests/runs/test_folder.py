from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import torch

from detection.config import Config, SvmConfig
from detection.errors import ConfigError, DataError
from detection.io import files
from detection.runs.folder import open_run, read_run_config, reopen_run


def test_a_run_folder_holds_settings_versions_command_and_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["detection", "train", "--data.root", "my data"])
    config = Config(svm=SvmConfig(c=0.5))
    with open_run(tmp_path / "run", config) as run:
        logging.getLogger("detection.some.module").info("three objects")
        assert run.config == config
        assert run.model.parent == run.path
    assert read_run_config(tmp_path / "run") == config
    environment = json.loads((run.path / "environment.json").read_text())
    assert set(environment["packages"]) >= {"torch", "torchvision", "numpy", "scikit-learn"}
    assert environment["cpu_count"] == os.cpu_count()
    assert ("avx2" in environment["instructions"]) == torch.cpu._is_avx2_supported()
    assert (run.path / "command.txt").read_text() == "detection train --data.root 'my data'\n"
    assert "INFO three objects" in (run.path / "log.txt").read_text()
    assert not (run.path / ".lock").exists()


def test_the_log_ends_with_the_run(tmp_path: Path) -> None:
    package = logging.getLogger("detection")
    before = (list(package.handlers), package.level)
    with pytest.raises(KeyError), open_run(tmp_path / "run", Config()):
        raise KeyError
    assert (package.handlers, package.level) == before


def test_a_folder_with_files_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with (
        pytest.raises(DataError, match=r"expected an empty folder.*--resume.*--overwrite"),
        open_run(tmp_path, Config()),
    ):
        pass
    with (
        pytest.raises(DataError, match="other files"),
        open_run(tmp_path, Config(), overwrite=True),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_overwrite_replaces_a_run(tmp_path: Path) -> None:
    with open_run(tmp_path, Config()) as run:
        run.detections.mkdir()
        (run.detections / "old.txt").write_text("x")
    with open_run(tmp_path, Config(svm=SvmConfig(c=2.0)), overwrite=True) as run:
        assert not run.detections.exists()
    assert read_run_config(tmp_path).svm.c == 2.0


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (
        open_run(tmp_path, Config()),
        pytest.raises(DataError, match=rf"locked by pid {os.getpid()}"),
        open_run(tmp_path, Config(), resume=True),
    ):
        pass


def test_resume_keeps_what_is_there(tmp_path: Path) -> None:
    with open_run(tmp_path, Config(), resume=True) as run:
        run.model.write_bytes(b"x")
    with open_run(tmp_path, Config(), resume=True) as run:
        assert run.model.read_bytes() == b"x"
    assert len((tmp_path / "command.txt").read_text().splitlines()) == 2


def test_resume_with_another_configuration_stops_unless_overridden(tmp_path: Path) -> None:
    with open_run(tmp_path, Config()):
        pass
    changed = Config(svm=SvmConfig(c=0.5))
    with (
        pytest.raises(ConfigError, match=r"svm.c: 0.001 -> 0.5; resume with .* --override"),
        open_run(tmp_path, changed, resume=True),
    ):
        pass
    assert read_run_config(tmp_path) == Config()
    with open_run(tmp_path, changed, resume=True, override=True):
        pass
    assert read_run_config(tmp_path) == changed


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    with open_run(tmp_path, Config()):
        owner = f"{files._machine()}-{2**22 + 1}"  # no process has this number
        (tmp_path / f".model.safetensors.{owner}-0123456789ab.tmp").write_bytes(b"half")
    with open_run(tmp_path, Config(), resume=True):
        assert not list(tmp_path.glob(".*.tmp"))


def test_a_finished_run_is_reopened_under_lock(tmp_path: Path) -> None:
    with open_run(tmp_path, Config()):
        pass
    with (
        reopen_run(tmp_path) as run,
        pytest.raises(DataError, match="locked"),
        reopen_run(tmp_path),
    ):
        pass
    assert run.config == Config()


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a run folder with config.yaml, got none"):
        read_run_config(tmp_path)
    with pytest.raises(DataError, match="no such folder"), reopen_run(tmp_path / "gone"):
        pass
    assert not (tmp_path / "gone").exists()


def test_a_first_try_that_failed_counts_as_no_run(tmp_path: Path) -> None:
    written = ("data.json", "skipped.csv", "split.json", "trackers.json", "trackers/run/events")
    with open_run(tmp_path, Config()) as run:
        for name in written:
            (run.path / name).parent.mkdir(parents=True, exist_ok=True)
            (run.path / name).write_text("{}")
    with open_run(tmp_path, Config(svm=SvmConfig(c=2.0))) as run:
        assert not any((run.path / name).exists() for name in written)
    assert read_run_config(tmp_path).svm.c == 2.0
    assert len((tmp_path / "command.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "name", ["model.safetensors", "checkpoints/step-1.pt", "metrics.json", "thesis.tex"]
)
def test_a_run_that_made_something_is_not_written_over(tmp_path: Path, name: str) -> None:
    with open_run(tmp_path, Config()) as run:
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text("x")
    with pytest.raises(DataError, match="expected an empty folder"), open_run(tmp_path, Config()):
        pass
    assert (tmp_path / name).read_text() == "x"


def test_files_without_a_run_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("x")
    with pytest.raises(DataError, match="expected an empty folder"), open_run(tmp_path, Config()):
        pass
