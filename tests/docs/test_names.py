"""Pages that name parts of the package: the reading order, the glossary, the devices."""

import importlib
import re

import pytest
import torch

from detection.config import Config
from tests.devices.scenarios import SCENARIOS
from tests.docs.pages import DOCS

PACKAGE = DOCS.parent / "detection"
MOST_FILES, MOST_LINES = 12, 2000


def text_of(page):
    return (DOCS / page).read_text(encoding="utf-8")


def resolve(name):
    """Import as much of a dotted name as is a module, and look the rest up."""
    words, value = name.split("."), None
    for count in range(len(words), 0, -1):
        module = ".".join(("detection", *words[:count]))
        try:
            value = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for word in words[count:]:
            value = getattr(value, word)
        return value
    raise AttributeError(name)


def test_the_reading_path_fits_its_budget():
    steps = re.findall(r"^## (\d+)\. `detection/(\S+)`: (.+)$", text_of("reading.md"), re.MULTILINE)
    assert [int(number) for number, _, _ in steps] == list(range(1, len(steps) + 1))
    assert 0 < len(steps) <= MOST_FILES
    lines = [(PACKAGE / name).read_text(encoding="utf-8").count("\n") for _, name, _ in steps]
    assert sum(lines) <= MOST_LINES, dict(zip(steps, lines, strict=True))
    assert all(re.search(r"\b(SPP|RC) (§|Appendix )", section) for _, _, section in steps)


def test_the_reading_path_names_what_there_is():
    text = text_of("reading.md")
    files = re.findall(r"`(detection/\S+\.py)`", text)
    assert [name for name in files if not (PACKAGE.parent / name).exists()] == []
    sections = re.split(r"^## \d+\. `detection/(\S+)\.py`.*$", text, flags=re.MULTILINE)[1:]
    for path, words in zip(sections[::2], sections[1::2], strict=True):
        source = (PACKAGE / f"{path}.py").read_text(encoding="utf-8")
        names = re.findall(r"`(?:\w+\.)?(\w+)`", words.split("\n## ")[0])
        assert [
            name for name in names if f" {name}(" not in source and f" {name}:" not in source
        ] == [], path


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`([a-z]\w*(?:\.\w+)+)`", text_of("glossary.md"))))
)
def test_the_glossary_names_what_there_is(name):
    first, _, rest = name.partition(".")
    if first == "torch":
        assert hasattr(torch, rest)
    elif not hasattr(getattr(Config(), first, None), rest):  # no setting: a module's name
        assert resolve(name) is not None


def test_every_term_of_the_glossary_is_explained_once():
    table = text_of("glossary.md").split("## Terms")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", table, re.MULTILINE)[2:]
    terms = [term for row, _ in rows for term in row.split(", ")]
    assert len(terms) == len(set(terms))
    assert len(terms) > 30


def test_the_page_of_devices_has_every_scenario():
    rows = re.findall(r"^\|.*\| `(\w+)` \|$", text_of("devices.md"), re.MULTILINE)
    assert set(rows) == set(SCENARIOS)


def test_the_page_of_devices_names_files_that_there_are():
    text = text_of("devices.md")
    names = re.findall(r"`(\w+(?:/\w+)*\.py)`", text)
    folders = (PACKAGE, PACKAGE.parent)
    assert [name for name in names if not any((f / name).exists() for f in folders)] == []
    where = text.split("## Where the host waits")[1].split("\n## ")[0]
    for module, name in re.findall(r"^\| `(\S+)`, `([\w.]+)` \|", where, re.MULTILINE):
        source = (PACKAGE / module).read_text(encoding="utf-8")
        assert f"def {name.rpartition('.')[2]}(" in source
