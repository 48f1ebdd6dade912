"""The part of a Markdown page between two marks, which scripts write and people leave alone."""

from __future__ import annotations

from pathlib import Path

from detection.io.files import write_text_atomic


def replace_between(page: Path, mark: str, text: str) -> None:
    """Put a text between ``<!-- mark: begin -->`` and ``<!-- mark: end -->``.

    Raises:
        SystemExit: if the page lacks one of them.
    """
    old = page.read_text(encoding="utf-8")
    marks = [f"<!-- {mark}: {edge} -->" for edge in ("begin", "end")]
    before, start, rest = old.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (start and end):
        raise SystemExit(f"{page}: expected the marks {' and '.join(marks)}")
    write_text_atomic(page, f"{before}{start}\n{text}\n{end}{after}")
