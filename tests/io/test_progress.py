from __future__ import annotations

import io
import sys

import pytest

from detection.io.progress import track


def test_progress_passes_items_on_and_is_silent_off_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(track(iter("abc"), 3, "letters")) == ["a", "b", "c"]
    assert stream.getvalue() == ""
