"""The tutorial runs from top to bottom, on fewer images, and prints what it says."""

import contextlib
import io
import re

import pytest

from tests.docs.pages import blocks, commands

COUNTS = {"train_images=60": "train_images=8", "test_images=30": "test_images=4"}


def words(text):
    """The text without its numbers, which are those of another machine and of more images."""
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]+", "N", text))


@pytest.mark.slow
def test_the_tutorial_runs_and_prints_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed, shown = "", 0
    for block in blocks("tutorial.md"):
        if block.language == "python":
            text = block.text
            for many, few in COUNTS.items():
                text = text.replace(many, few)
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(text, "tutorial.md", "exec"), names)
            printed = output.getvalue()
        elif block.language == "text":
            shown += 1
            if block.title:
                assert words(printed) == words(block.text)
            else:
                assert printed == block.text
    assert shown >= 14


def test_the_tutorial_ends_with_the_commands_that_do_the_same():
    shown = [command[0][0] for block in blocks("tutorial.md") for command in commands(block)]
    assert shown == ["train", "evaluate", "detect", "report"]
