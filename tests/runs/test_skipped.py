from __future__ import annotations

import csv
from pathlib import Path

import pytest

from detection.errors import DataError
from detection.runs.skipped import COLUMNS, NAME, write_skipped
from detection.structures import Skipped

LOST = Skipped(
    file="a/000001.jpg", kind="unreadable image", reason="expected an image, got 0 bytes"
)
ODD = Skipped(file='a/x,y "z".xml', kind="degenerate box", reason="object 2:\nexpected xmin < xmax")


def rows_in(folder: Path) -> list[list[str]]:
    """The lines of the file without its head."""
    return list(csv.reader((folder / NAME).read_text().splitlines()))[1:]


def row(split: str, entry: Skipped) -> list[str]:
    return [split, entry.file, entry.kind, entry.reason]


def test_the_file_has_a_line_for_each_entry(tmp_path: Path) -> None:
    path = write_skipped(tmp_path, {"trainval": [LOST, ODD]})
    assert path == tmp_path / NAME
    assert path.read_text().startswith(",".join(COLUMNS))
    assert rows_in(tmp_path) == [
        row("trainval", LOST),
        ["trainval", ODD.file, ODD.kind, "object 2: expected xmin < xmax"],
    ]


def test_nothing_left_out_is_said_by_a_file_with_its_head_alone(tmp_path: Path) -> None:
    assert write_skipped(tmp_path, {"test": []}).read_text() == ",".join(COLUMNS) + "\n"


def test_a_split_replaces_itself_and_leaves_the_others(tmp_path: Path) -> None:
    write_skipped(tmp_path, {"trainval": [LOST]})
    write_skipped(tmp_path, {"test": [LOST, LOST]})
    write_skipped(tmp_path, {"test": [LOST]})
    assert rows_in(tmp_path) == [row("trainval", LOST), row("test", LOST)]
    write_skipped(tmp_path, {"trainval": []})
    assert rows_in(tmp_path) == [row("test", LOST)]


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"split,file,kind,reason\nx\n", b"\xff\xfe"]
)
def test_a_file_of_another_form_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    write_skipped(tmp_path, {"test": [LOST]})
    assert rows_in(tmp_path) == [row("test", LOST)]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file"):
        write_skipped(tmp_path / "file", {"test": [LOST]})
