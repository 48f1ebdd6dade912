"""Commands that are killed, or whose disk is full, end as if nothing had happened when run again.

Two rounds of each; ``scripts/crash`` does twenty.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.verbs import VERBS

ROOT = Path(__file__).parents[2]
ROUNDS = 2


@pytest.fixture(scope="module")
def reports():
    options = ["--kills", ROUNDS, "--fills", ROUNDS, "--no_mounts"]
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
    rows = map(json.loads, done.stdout.splitlines())
    return {(row["what"], row["verb"]): row for row in rows}


@pytest.mark.parametrize("verb", VERBS)
def test_a_killed_command_run_again_gives_the_same_result(reports, verb):
    report = reports["killed", verb]
    assert report["rounds"] == ROUNDS
    assert report["kills"] >= ROUNDS
    assert report["different"] == 0
    assert report["left_over"] == 0


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_without_space_says_so_and_ends_as_ever_once_there_is_some(reports, verb):
    report = reports["limited files", verb]
    assert report["rounds"] == ROUNDS
    assert report["refused"] > 0
    assert report["unclear"] == []
    assert report["different"] == 0
    assert report["left_over"] == 0
