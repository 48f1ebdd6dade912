"""What every page promises: links that lead somewhere, commands that exist, all of the package."""

import importlib.util
import pkgutil
import re

import pytest

import detection
from detection.cli.commands import COMMANDS
from detection.cli.main import build_parser
from detection.runs.presets import preset_names
from tests.docs.pages import DOCS, blocks, commands

ROOT = DOCS.parent
OTHERS = ("README.md", "data/README.md", "CONTRIBUTING.md", "SECURITY.md")
SITE = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
PAGES = [*SITE, *(f"../{name}" for name in OTHERS)]
REFERENCE = [page for page in SITE if page.startswith("reference/")]


def text_of(page):
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [
        target
        for target in targets
        if "://" not in target and not ((DOCS / page).parent / target).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_options_that_there_are(page):
    for block in blocks(page):
        for arguments, _ in commands(block) if block.language == "bash" else []:
            parser = build_parser(arguments[0])
            parser.parse(arguments[1:])


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_repository_that_commands_name_exist(page):
    for block in blocks(page):
        named = re.findall(r"(?<![\w/])(?:configs|scripts)/[\w./-]*\w", block.text)
        assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_configurations_that_commands_name_are_presets_or_files_of_the_page(page):
    titles = {block.title for block in blocks(page)}
    for block in blocks(page):
        named = set(re.findall(r"--config (\S+)", block.text)) - {"FILE", "NAME"}
        assert named <= titles | set(preset_names())


def test_every_page_is_in_the_navigation_of_the_site():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in SITE if f": {page}" not in site and f"- {page}" not in site] == []


def test_the_commands_page_has_every_command_and_an_example_of_it():
    listed = re.findall(r"^\| `([\w-]+)` \|", text_of("reference/commands.md"), re.MULTILINE)
    assert listed[: len(COMMANDS)] == list(COMMANDS)
    shown = [c[0][0] for b in blocks("reference/commands.md") for c in commands(b)]
    assert set(shown) == set(COMMANDS)


def test_the_reference_has_every_module():
    shown = set(re.findall(r"^::: ([\w.]+)$", "\n".join(map(text_of, REFERENCE)), re.MULTILINE))
    modules = {f"detection.{module.name}" for module in pkgutil.iter_modules(detection.__path__)}
    private = {"detection.cli", "detection.__main__", "detection.lazy", "detection.version"}
    assert shown == modules - private, "name each module on a page of docs/reference"
    assert all(importlib.util.find_spec(name) for name in shown)
