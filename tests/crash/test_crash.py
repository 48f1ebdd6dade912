"""Commands that are disturbed, or whose disk is full, end as if nothing had happened, run again.

A moment of each; ``scripts/crash`` takes twenty.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.commands import COMMANDS
from tests.crash.lives import SIGNALS, Life, table

ROOT = Path(__file__).parents[2]
MOMENTS = dict.fromkeys(SIGNALS, 1)
FILLS = 1


def reports(command):
    kills, interrupts, terms = (MOMENTS[what] for what in SIGNALS)
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
    lines = done.stdout.splitlines()
    assert lines, done.stderr[-3000:]
    found = [json.loads(line) for line in lines if line.startswith("{")]
    assert table(found).splitlines() == lines[len(found) :]
    return {row["what"]: row for row in found}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disturbed_command_run_again_gives_the_same_result(command):
    found = reports(command)
    for what in SIGNALS:
        report = found[what]
        assert report["unclear"] == []
        assert report["rounds"] == 1
        assert report["moments"] >= MOMENTS[what]
        assert report["different"] == 0
        assert report["left_over"] == 0
    report = found["limited files"]  # without space it says so
    assert report["rounds"] == FILLS
    assert report["refused"] > 0
    assert report["unclear"] == []
    assert report["different"] == 0
    assert report["left_over"] == 0


def report(verb, what, moments, different=0, left_over=0, unclear=()):
    return {
        "verb": verb,
        "what": what,
        "refused" if what == "full disk" else "moments": moments,
        "different": different,
        "left_over": left_over,
        "unclear": list(unclear),
    }


def test_the_table_adds_up_what_was_reported():
    found = [
        report("propose", "killed", 101),
        report("train", "interrupted", 40, different=1),
        report("train", "interrupted", 60, left_over=2),
        report("train", "full disk", 7, unclear=["a traceback"]),
    ]
    assert table(found).splitlines() == [
        "| verb | SIGKILL | SIGINT | full disk | different | left over | unclear |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| propose | 101 | 0 | 0 | 0 | 0 | 0 |",
        "| train | 0 | 100 | 7 | 1 | 2 | 1 |",
        "| **all** | 101 | 100 | 7 | 1 | 2 | 1 |",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the processor time as Linux has it")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_life_that_waits_for_ever_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.crash.lives.LONGEST", 0.3)
    monkeypatch.setattr("tests.crash.lives.run_as_from_a_shell", lambda _: os.read(os.pipe()[0], 1))
    life = Life(tmp_path, ["detect"])
    assert not life.disturb_after(60, 15)
    assert life.end()[0] is None
