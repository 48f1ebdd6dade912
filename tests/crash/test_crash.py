"""Commands that are disturbed, or whose disk is full, end as if nothing had happened, run again.

A round of each; ``scripts/crash`` does twenty.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.commands import COMMANDS
from tests.crash.lives import SIGNALS

ROOT = Path(__file__).parents[2]
ROUNDS = dict.fromkeys(SIGNALS, 1)
FILLS = 1


def reports(command):
    kills, interrupts, terms = (ROUNDS[what] for what in SIGNALS)
    options = ["--verbs", command, "--kills", kills, "--interrupts", interrupts, "--terms", terms]
    options += ["--fills", FILLS, "--no_mounts"]
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
def test_a_disturbed_command_run_again_gives_the_same_result(command):
    found = reports(command)
    for what in SIGNALS:
        report = found[what]
        assert report["unclear"] == []
        assert report["rounds"] == ROUNDS[what]
        assert report["kills"] >= ROUNDS[what]
        assert report["different"] == 0
        assert report["left_over"] == 0
    report = found["limited files"]  # without space it says so
    assert report["rounds"] == FILLS
    assert report["refused"] > 0
    assert report["unclear"] == []
    assert report["different"] == 0
    assert report["left_over"] == 0
