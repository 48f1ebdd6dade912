"""The figures of the documentation are those that its code draws; the notebook is its page."""

import itertools
import json
import re
import runpy

import numpy as np
import pytest
from PIL import Image

from tests.docs.pages import DOCS, blocks

PAGES = runpy.run_path(str(DOCS / "figures/pages.py"))
LESSONS = ("tutorial.md", "spp_in_pictures.md")
WIDEST, LARGEST = 1000, 200_000


def parts(page):
    return list(PAGES["parts"](page))


def assert_alike(kept, drawn):
    """Raise for images that differ by more than another version of a font or a library."""
    assert np.abs(np.subtract(kept.size, drawn.size)).max() <= 12
    small = [np.asarray(one.convert("RGB").resize((48, 24)), dtype=float) for one in (kept, drawn)]
    assert np.abs(small[0] - small[1]).mean() < 6


@pytest.mark.slow
def test_the_figure_of_both_methods_is_drawn(tmp_path):
    draw = runpy.run_path(str(DOCS / "figures/two_methods.py"))["draw"]
    draw(tmp_path / "figure.png")
    kept, drawn = DOCS / "images/two_methods.png", tmp_path / "figure.png"
    with Image.open(kept) as old, Image.open(drawn) as new:
        assert new.size == old.size


def test_images_that_differ_are_not_alike():
    white, half = (Image.new("RGB", (96, 48), "white") for _ in range(2))
    half.paste("black", (0, 0, 96, 24))
    assert_alike(white, white)
    with pytest.raises(AssertionError):
        assert_alike(white, half)


@pytest.mark.slow
def test_the_pictures_of_spp_are_drawn_and_its_numbers_printed():
    printed, shown = [], [block.text for block in blocks("spp_in_pictures.md")]
    for block, files in PAGES["run_page"]("spp_in_pictures.md"):
        printed += [block.printed] if block.printed else []
        for figure, file in zip(block.figures, files, strict=True):
            with Image.open(file) as kept:
                assert_alike(kept, figure)
    texts = [b.text for b in blocks("spp_in_pictures.md") if b.language == "text"]
    assert len(shown) > len(texts) >= 9
    assert printed == texts


@pytest.mark.parametrize("page", LESSONS)
def test_every_step_has_a_figure_of_its_own_code(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    steps = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert len(steps) >= 5
    missing = [step.splitlines()[0] for step in steps if "\nplt.show()\n```\n\n![" not in step]
    assert missing == []
    assert text.count("plt.show()") == text.count("\n![")


@pytest.mark.parametrize("page", LESSONS)
def test_figures_have_words_for_those_who_cannot_see_them_and_are_small(page):
    for image in (part for part in parts(page) if part.kind == "image"):
        assert len(image.text.split()) >= 10
        file = (DOCS / page).parent / image.title
        assert file.stat().st_size <= LARGEST
        with Image.open(file) as picture:
            assert picture.width <= WIDEST
    folder = DOCS / "images" / page.removesuffix(".md")
    named = [part.title for part in parts(page) if part.kind == "image"]
    assert sorted(named) == sorted(f"images/{folder.name}/{file.name}" for file in folder.iterdir())


def test_the_notebook_is_made_from_the_tutorial():
    kept = (DOCS / "tutorial.ipynb").read_text(encoding="utf-8")
    made = PAGES["notebook_text"]("tutorial.md")
    assert kept == made, "python docs/figures/pages.py notebook tutorial.md"


def test_the_cells_of_the_notebook_are_the_blocks_of_the_page_that_are_run():
    notebook = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = [block.text for block in blocks("tutorial.md") if block.language == "python"]
    assert ["".join(cell["source"]) + "\n" for cell in cells] == code
    words = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    headings = [line for cell in words for line in cell["source"] if line.startswith("## ")]
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    assert [line.strip() for line in headings] == re.findall(r"^## .*$", text, re.MULTILINE)
    shown = list(itertools.chain.from_iterable(cell["outputs"] for cell in cells))
    images = [one for one in shown if one["output_type"] == "display_data"]
    assert len(images) == text.count("plt.show()")
