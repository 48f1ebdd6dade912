"""The Korean pages have the code, the figures and the steps of the English ones."""

import re

import pytest

from tests.docs.pages import DOCS

ROOT = DOCS.parent
NAMES = ("tutorial.md", "spp_in_pictures.md")
FENCE = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)


def text_of(page):
    return (DOCS / page).read_text(encoding="utf-8")


def words_of(page):
    """The page without its code."""
    return FENCE.sub("", text_of(page))


def headings(page):
    """The depth of each heading, and its number where it has one."""
    return re.findall(r"^(#+) (\d+\.)?", words_of(page), re.MULTILINE)


def images(page):
    """What each figure shows in words, and its file."""
    found = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", words_of(page))
    return [(" ".join(alt.split()), ((DOCS / page).parent / file).resolve()) for alt, file in found]


def links(page):
    """The files that the page leads to, its other language first."""
    targets = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)", words_of(page))
    return [((DOCS / page).parent / t).resolve() for t in targets if "://" not in t]


def is_korean(text):
    """Whether most letters are Hangul; names and formulas stay Latin."""
    return len(re.findall(r"[가-힣]", text)) > len(re.findall(r"[A-Za-z]", text))


@pytest.mark.parametrize("name", NAMES)
def test_the_code_is_that_of_the_english_page(name):
    blocks = FENCE.findall(text_of(f"ko/{name}"))
    assert len(blocks) >= 20
    assert blocks == FENCE.findall(text_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_headings_are_those_of_the_english_page(name):
    assert len(headings(name)) >= 6
    assert headings(f"ko/{name}") == headings(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_are_those_of_the_english_page_with_words_in_korean(name):
    korean = images(f"ko/{name}")
    assert len(korean) >= 5
    assert [file for _, file in korean] == [file for _, file in images(name)]
    assert [file for _, file in korean if not file.is_file()] == []
    assert [alt for alt, _ in korean if len(alt) < 20 or not is_korean(alt)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_links_lead_where_those_of_the_english_page_do(name):
    assert [file for file in links(f"ko/{name}") if not file.is_file()] == []
    translated = {(DOCS / one).resolve(): (DOCS / "ko" / one).resolve() for one in NAMES}
    first, *others = links(name)
    own_first, *own_others = links(f"ko/{name}")
    assert (first, own_first) == (translated[(DOCS / name).resolve()], (DOCS / name).resolve())
    assert own_others == [translated.get(file, file) for file in others]


@pytest.mark.parametrize("name", NAMES)
def test_the_words_between_the_code_are_korean(name):
    code_or_target = r"^\[English\].*$|`[^`]*`|\]\([^)]*\)"
    paragraphs = re.sub(code_or_target, "", words_of(f"ko/{name}"), flags=re.MULTILINE)
    found = [one for one in paragraphs.split("\n\n") if re.search(r"[A-Za-z]{3}", one)]
    assert len(found) >= 10
    assert [one for one in found if not re.search(r"[가-힣]", one)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_start_page_and_the_site_lead_to_the_page(name):
    assert f"[한국어](ko/{name})" in text_of("index.md")
    assert f": ko/{name}\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
