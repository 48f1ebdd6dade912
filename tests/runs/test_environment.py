from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

from detection.io import device
from detection.runs import environment
from detection.version import VERSION


def test_the_description_can_be_written_and_says_what_runs() -> None:
    described = environment.describe_environment()
    assert json.loads(json.dumps(described)) == described
    assert described["detection"] == VERSION
    assert described["packages"]["torch"] == importlib.metadata.version("torch")
    assert described["threads"] == torch.get_num_threads()
    assert described["processor"]


def test_what_is_not_installed_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name != "numpy":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert environment.installed_versions() == {"numpy": "1.2"}


def test_only_instructions_that_decide_a_speed_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "processor_units", lambda: {"sse", "amx_bf16", "avx2"})
    assert environment.instruction_sets() == ["avx2", "amx_bf16"]


@pytest.mark.parametrize(
    ("commit", "changes", "expected"),
    [("abc", None, "abc"), ("abc", " M a.py", "abc+"), (None, None, None), (None, "x", None)],
)
def test_a_plus_says_that_the_source_was_changed(
    monkeypatch: pytest.MonkeyPatch, commit: str | None, changes: str | None, expected: str | None
) -> None:
    def git(folder: Path, *arguments: str) -> str | None:
        return commit if arguments[0] == "rev-parse" else changes

    monkeypatch.setattr(environment, "_git", git)
    monkeypatch.setattr(Path, "exists", lambda path: True)
    assert environment.source_revision() == expected


def test_outside_git_there_is_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert environment.source_revision() is None
