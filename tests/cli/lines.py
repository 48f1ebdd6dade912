"""The one line of a command that fails."""

from __future__ import annotations

import pytest

from detection.cli.main import main


def fail(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail in the agreed way; return its one line."""
    assert main(list(map(str, arguments))) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")
