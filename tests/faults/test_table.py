"""The table of faults names tests that exist, for every fault."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("README.md")


def rows() -> list[list[str]]:
    """Read the table: fault, what, what happens, tests."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
        if re.match(r"\| F\d+ \|", line)
    ]


@cache
def names_in(path: str) -> frozenset[str]:
    """Return the names of a file's tests."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return frozenset(name for name in names if name.startswith("test_"))


def test_every_fault_has_a_row_of_four_cells() -> None:
    assert [row[0] for row in rows()] == [f"F{number}" for number in range(1, 59)]
    assert all(len(row) == 4 and all(row) for row in rows())


def test_every_named_test_exists() -> None:
    for fault, _, _, tests in rows():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert named, fault
        assert len(named) == len(tests.split("<br>")), fault
        for path, name in named:
            assert name in names_in(path), f"{fault}: {path}::{name}"


def test_every_test_named_anywhere_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TABLE.read_text(encoding="utf-8"))
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_every_test_of_a_fault_stands_in_its_row() -> None:
    """A test that calls itself after a fault belongs to a file that the fault's row names."""
    files = {row[0]: row[3] for row in rows()}
    for path in Path(__file__).parent.glob("test_*.py"):
        place = path.relative_to(ROOT).as_posix()
        for name in names_in(place):
            for number in re.findall(r"(?<=_)f(\d\d)(?=_)", name):
                assert place in files[f"F{int(number)}"], f"{place}::{name}"
