"""The tutorial runs, on fewer images and boxes, and prints and draws what it shows."""

import re
import runpy

import pytest
from PIL import Image

from tests.docs.pages import DOCS, blocks, commands
from tests.docs.test_figures import assert_alike

PAGES = runpy.run_path(str(DOCS / "figures/pages.py"))
COUNTS = {
    "train_images=40": "train_images=8",
    "test_images=20": "test_images=4",
    "proposals[:60]": "proposals[:30]",
    "max_boxes=60": "max_boxes=30",
}


def words(text):
    """The text without its numbers, which are those of another machine and of more examples."""
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]+", "N", text))


def fewer(code):
    for many, few in COUNTS.items():
        code = code.replace(many, few)
    return code


@pytest.mark.slow
def test_the_tutorial_runs_and_prints_and_draws_what_it_shows():
    shown = iter([block for block in blocks("tutorial.md") if block.language == "text"])
    drawn = 0
    for block, files in PAGES["run_page"]("tutorial.md", fewer):
        if block.printed:
            text = next(shown)
            if text.title:
                assert words(block.printed) == words(text.text)
            else:
                assert block.printed == text.text
        for figure, file in zip(block.figures, files, strict=True):
            drawn += 1
            with Image.open(file) as kept:
                if drawn <= 6:  # of one image; those of the later steps depend on the training
                    assert_alike(kept, figure)
                else:
                    assert abs(kept.width - figure.width) <= 40
    assert drawn == 12
    assert next(shown, None) is None


def test_the_counts_that_the_test_makes_smaller_are_those_of_the_tutorial():
    code = "".join(block.text for block in blocks("tutorial.md") if block.language == "python")
    assert fewer(code) != code
    assert all(code.count(many) == 1 for many in COUNTS)


def test_the_tutorial_ends_with_the_commands_that_do_the_same():
    shown = [command[0][0] for block in blocks("tutorial.md") for command in commands(block)]
    assert shown == ["train", "evaluate", "detect", "report"]
