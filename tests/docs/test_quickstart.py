"""What the quickstart does with what an earlier one has left."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path):
    """The scripts, and an interpreter that only notes what it is called with."""
    (tmp_path / "scripts").mkdir()
    for name in ("quickstart", "environment"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts" / name)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@" >> "$NOTES"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "data/synthetic").mkdir(parents=True)
    (tmp_path / "data/synthetic/synthetic.json").write_text("{}")
    return tmp_path


def trainings(checkout):
    """Return the last word of each training."""
    notes = checkout / "notes.txt"
    environment = os.environ | {"PYTHON": str(checkout / "python"), "NOTES": str(notes)}
    subprocess.run([checkout / "scripts/quickstart"], env=environment, check=True, timeout=60)
    lines = notes.read_text().splitlines()
    return [line.split()[-1] for line in lines if line.startswith("-m detection train")]


def test_runs_are_resumed_but_not_on_images_that_were_drawn_anew(checkout):
    drawn = checkout / "data/synthetic/synthetic.json"
    for name, after in (("sppnet", 10), ("rcnn", -10)):
        data = checkout / "runs/quickstart" / name / "data.json"
        data.parent.mkdir(parents=True)
        data.write_text("{}")
        os.utime(data, (drawn.stat().st_mtime + after,) * 2)
    assert trainings(checkout) == ["--resume", "--overwrite"]


def test_the_first_quickstart_has_nothing_to_resume(checkout):
    assert trainings(checkout) == ["--overwrite", "--overwrite"]
