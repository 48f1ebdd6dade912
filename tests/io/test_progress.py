from __future__ import annotations

import io
import sys

import pytest

from detection.io import progress
from detection.io.progress import progress_line, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is 10 seconds later at each look."""
    seconds = iter(range(0, 10_000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(seconds)))


def test_progress_passes_items_on_and_is_silent_where_it_is_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(track(iter("abc"), 3, "letters")) == ["a", "b", "c"]
    assert stream.getvalue() == ""


@pytest.mark.usefixtures("clock")
def test_off_a_terminal_there_is_a_line_every_thirty_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(track("abcdefgh", description="letters")) == list("abcdefgh")
    assert stream.getvalue() == "letters 3/8, 50 s left\nletters 6/8, 20 s left\n"


def test_on_a_terminal_a_line_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(track("abc", description="letters")) == ["a", "b", "c"]
    assert "\rletters: 100%" in stream.getvalue()


def test_without_stderr_the_items_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert list(track("abc")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("objects", 312, 616, 237.0), "objects 312/616, 4 min left"),
        (("objects", 1, 2, 60.0), "objects 1/2, 1 min left"),
        (("objects", 1, 2, 59.5), "objects 1/2, 60 s left"),
        (("objects", 1000, 3001, 3600.0), "objects 1,000/3,001, 2 h 1 min left"),
        (("objects", 5, 5, 9.0), "objects 5/5, 0 s left"),
        (("", 5, 0, 9.0), "done 5"),
    ],
)
def test_a_line_says_how_far_it_is_and_how_long_it_takes(
    arguments: tuple[str, int, int, float], line: str
) -> None:
    assert progress_line(*arguments) == line
