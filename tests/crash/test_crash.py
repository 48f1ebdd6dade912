"""Commands that are killed, or whose disk is full, end as if nothing had happened when run again.

A round or two of each; ``scripts/crash`` does twenty.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.commands import COMMANDS

ROOT = Path(__file__).parents[2]
KILLS, FILLS = 2, 1


@functools.cache
def reports(command):
    options = ["--verbs", command, "--kills", KILLS, "--fills", FILLS, "--no_mounts"]
    done = subprocess.run(
        list(map(str, [sys.executable, "-m", "tests.crash", *options])),
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.stdout, done.stderr[-3000:]
    return {row["what"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_killed_command_run_again_gives_the_same_result(command):
    report = reports(command)["killed"]
    assert report["rounds"] == KILLS
    assert report["kills"] >= KILLS
    assert report["different"] == 0
    assert report["left_over"] == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_space_says_so_and_ends_as_ever_once_there_is_some(command):
    report = reports(command)["limited files"]
    assert report["rounds"] == FILLS
    assert report["refused"] > 0
    assert report["unclear"] == []
    assert report["different"] == 0
    assert report["left_over"] == 0
