"""Every reader on a few thousand damaged inputs; ``scripts/fuzz`` does more of the same."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from detection.errors import DataError
from tests.fuzz.__main__ import QUICK, READERS
from tests.fuzz.mutate import VALUES, damage_bytes, damage_tokens, damage_tree
from tests.fuzz.runner import fuzz, mutant

ROOT = Path(__file__).parents[2]
MEMORY_MIB = {"model": 400}
"""Reading may add so much; 100 where nothing is said. Models of other networks may be built."""


@pytest.fixture(scope="module")
def reports():
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--quick"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.stdout, done.stderr[-3000:]
    rows = map(json.loads, done.stdout.splitlines())
    return {row.pop("reader"): row for row in rows}


@pytest.mark.parametrize("name", READERS)
def test_damaged_inputs_are_read_or_refused(reports, name):
    report = reports[name]
    assert report["bugs"] == []
    assert report["inputs"] == QUICK[name]
    assert report["accepted"] > 0
    assert name == "annotation" or report["refused"] > 0
    assert report["peak_mib"] < MEMORY_MIB.get(name, 100)


class Faulty:
    """A reader with every fault that the runner is there to find."""

    seeds = ()

    def mutate(self, chance):
        return bytes([chance.randrange(256)])

    def read(self, data):
        value = data[0]
        if value < 8:
            message = "x"
            raise KeyError(message)
        if value < 16:
            os.kill(os.getpid(), signal.SIGKILL)
        if value < 24:
            while True:
                pass
        if value < 32:
            bytearray(1 << 31)
        if value < 128:
            message = "refused"
            raise DataError(message)


def test_the_runner_finds_exceptions_deaths_hangs_and_floods_and_goes_on():
    report = fuzz(Faulty(), 120, hang=0.5, memory_gib=1)
    assert report["inputs"] == 120
    kinds = {bug["what"] for bug in report["bugs"]}
    assert kinds == {"KeyError", "killed by signal 9", "hang", "MemoryError"}
    values = [mutant(Faulty(), 0, index)[0] for index in range(120)]
    assert report["accepted"] == sum(value >= 128 for value in values)
    assert report["refused"] == sum(32 <= value < 128 for value in values)
    counts = dict.fromkeys(kinds, 0)
    for bug in report["bugs"]:
        counts[bug["what"]] += bug["count"]
    assert sum(counts.values()) == sum(value < 32 for value in values)
    assert counts["hang"] == sum(16 <= value < 24 for value in values)


def test_an_input_is_the_same_in_every_run():
    assert [mutant(Faulty(), 3, n) for n in range(20)] == [
        mutant(Faulty(), 3, n) for n in range(20)
    ]
    assert [mutant(Faulty(), 3, n) for n in range(20)] != [
        mutant(Faulty(), 4, n) for n in range(20)
    ]


def test_damage_changes_what_it_is_given_and_nothing_else():
    data, text, tree = b"abc" * 20, "<a> 12 </a> b", {"a": [1, 2, {"b": "c"}], "d": None}
    before = json.dumps(tree)
    changed = [
        (
            damage_bytes(data, random.Random(n), [b"x"], [b"other"]) != data,
            damage_tokens(text, random.Random(n), ["x"]) != text,
            json.dumps(damage_tree(tree, random.Random(n))) != before,
        )
        for n in range(300)
    ]
    assert all(sum(column) > 200 for column in zip(*changed, strict=True))
    assert json.dumps(tree) == before
    assert VALUES[-1] == {"a": {"b": []}}
