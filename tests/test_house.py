"""The rules of the house: where the methods may differ, how docstrings open, where tests lie."""

import ast
import configparser
import re
import tomllib
from pathlib import Path

import pytest

import detection

PACKAGE = Path(detection.__file__).parent
TESTS = Path(__file__).parent
ROOT = TESTS.parent
MODULES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.name not in {"__init__.py", "__main__.py", "version.py"}
)
METHODS = {"sppnet", "rcnn"}


def comparisons(tree):
    """Count the comparisons of anything with the name of a method."""
    return sum(
        isinstance(node, ast.Compare)
        and any(
            isinstance(leaf, ast.Constant) and leaf.value in METHODS
            for side in (node.left, *node.comparators)
            for leaf in ast.walk(side)
        )
        for node in ast.walk(tree)
    )


def docstrings(tree):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [text for node in nodes if (text := ast.get_docstring(node))]


def tree_of(module):
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def opens_wrongly(text):
    return re.match(r"(Gives?|Tells? (whether|which))\b", text) is not None


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("features/")])
def test_the_methods_differ_only_in_their_features(module):
    assert comparisons(tree_of(module)) == 0


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_open_as_those_of_pytorch_do(module):
    assert [text for text in docstrings(tree_of(module)) if opens_wrongly(text)] == []


@pytest.mark.parametrize("module", MODULES)
def test_the_tests_of_a_module_are_where_its_path_says(module):
    path = (TESTS / module).with_name(f"test_{Path(module).name}")
    assert path.is_file()


def test_every_module_is_in_the_import_contract():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    contract = config["importlinter:contract:layers"]
    names = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    names |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(re.findall(r"\w+", contract["layers"])) == names
    assert contract["containers"] == "detection"
    assert contract.getboolean("exhaustive")


def test_no_circle_is_allowed_and_no_name_may_be_missing():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    circles = config["importlinter:contract:circles"]
    assert (circles["type"], circles["ancestors"]) == ("acyclic_siblings", "detection")
    assert not set(circles) & {"skip_descendants", "ignore_imports"}
    assert "name-defined" not in config["mypy"]["disable_error_code"]
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert "F" in ruff["lint"]["select"]
    assert not {rule for rule in ruff["lint"]["ignore"] if "F821".startswith(rule)}
    assert all("/" in pattern for pattern in ruff["extend-exclude"])  # or rooms of that name too


def test_the_rules_see_what_they_are_for():
    assert comparisons(ast.parse('if config.method == "rcnn": pass')) == 1
    assert comparisons(ast.parse('if method in ("sppnet",): pass')) == 1
    assert comparisons(ast.parse('x = methods["rcnn"]')) == 0
    assert opens_wrongly("Give the boxes.")
    assert opens_wrongly("Tell whether it holds.")
    assert not opens_wrongly("Return the boxes.")
