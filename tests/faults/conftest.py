"""One small training for all tests that need a run folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data.folders import VocTree
from tests.faults.small import SETTINGS, run, where, write_tree


@dataclass(frozen=True)
class Trained:
    """A data set, the folder of its boxes, and a run trained on it."""

    tree: VocTree
    boxes: Path
    run: Path

    @property
    def where(self) -> tuple[str, ...]:
        """The options that name data set and boxes."""
        return where(self.tree, self.boxes)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a detector by the command line; nobody writes into its folders."""
    folder = tmp_path_factory.mktemp("trained")
    made = Trained(write_tree(folder / "data"), folder / "boxes", folder / "run")
    assert run("train", *SETTINGS, *made.where, "--out", made.run) == 0
    return made


@pytest.fixture
def trained(trained_once: Trained, tmp_path: Path) -> Trained:
    """A copy of the training to be broken by a test."""
    for name in ("data", "boxes", "run"):
        shutil.copytree(trained_once.run.parent / name, tmp_path / name)
    made = Trained(VocTree.there(tmp_path / "data"), tmp_path / "boxes", tmp_path / "run")
    config = made.run / "config.yaml"
    old, new = str(trained_once.run.parent), str(tmp_path)
    config.write_text(config.read_text().replace(old, new))
    return made
