"""What a table looks like: as text, Markdown, HTML and JSON."""

import json
from dataclasses import replace

import pytest

from detection.reproduce.results import Duration, RowResult
from detection.reproduce.show import as_markdown, as_text, heading, write_table
from detection.reproduce.table import VOC_CLASSES, Row, Table
from tests.report.pages import Page

TABLE = Table(
    name="t",
    title="Two <methods>",
    source="SPP Table 0",
    note="A & B.",
    timed=True,
    per_class=True,
    rows=(
        Row(
            name="first",
            training="a",
            paper=58.04,
            paper_classes=tuple(map(float, range(20))),
            paper_seconds=0.142,
        ),
        Row(name="second", training="b"),
        Row(name="third", training="c", paper=1.0),
    ),
)
RESULTS = [
    RowResult(
        row=TABLE.rows[0],
        commands=("detection train --out a", "detection evaluate a"),
        state="done",
        value=40.61,
        interval=(37.36, 48.19),
        classes=dict.fromkeys(reversed(VOC_CLASSES), 40.0),
        num_images=4952,
        tested_on="VOC2007 test",
        official=True,
        notes=("fc layers started from random values",),
        training=Duration(seconds=7200, whole=False),
        seconds=0.0512,
    ),
    RowResult(
        row=TABLE.rows[1],
        commands=("detection train --out b",),
        state="missing",
        missing=("b.pth: no such file; it goes there",),
    ),
    RowResult(row=TABLE.rows[2], commands=("detection train --out c",)),
]


def test_text_has_a_line_of_numbers_and_the_commands_of_each_row():
    lines = as_text(TABLE, RESULTS).splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("first"))
    shown = ["first", "58.0", "40.6", "37.4", "to", "48.2", "4,952", ">", "2.0", "h", "0.0512"]
    assert lines[first].split() == [*shown, "0.142"]
    assert lines[first + 1 : first + 4] == [
        "    fc layers started from random values",
        "    $ detection train --out a",
        "    $ detection evaluate a",
    ]
    assert "    cannot run here: b.pth: no such file; it goes there" in lines
    assert "    has not run yet" in lines


def test_the_columns_of_the_text_are_aligned():
    lines = as_text(TABLE, RESULTS).splitlines()
    header, first = (next(one for one in lines if one.startswith(s)) for s in ("row", "first"))
    assert header.index("ours") + len("ours") == first.index("40.6") + len("40.6")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "VOC2007 test, 4,952 images"),
        ({"official": False, "num_images": 175}, "Not VOC numbers: VOC2007 test, 175 images"),
    ],
)
def test_the_heading_says_whose_numbers_they_are(changed, expected):
    assert heading(TABLE, [replace(RESULTS[0], **changed), *RESULTS[1:]]) == expected


def test_a_table_of_which_nothing_ran_says_so():
    assert heading(TABLE, RESULTS[1:]) == "No row has run here"


def test_markdown_has_rows_classes_remarks_and_commands():
    text = as_markdown(TABLE, RESULTS)
    assert "| first | 58.0 | 40.6 | 37.4 to 48.2 | 4,952 | > 2.0 h | 0.0512 | 0.142 |" in text
    assert "| first (paper) | 0.0 | 1.0 | 2.0 |" in text
    assert "- second: cannot run here: b.pth: no such file; it goes there" in text
    *_, commands = text.split("```bash\n")
    assert commands.splitlines() == [
        "detection train --out a",
        "detection evaluate a",
        "detection train --out b",
        "detection train --out c",
        "```",
    ]


def test_files_are_written_beside_each_other_and_the_page_stands_alone(tmp_path):
    files = write_table(TABLE, RESULTS, tmp_path)
    assert [path.name for path in files] == ["t.md", "t.html", "t.json"]
    page = Page(files[1].read_text(encoding="utf-8"))
    assert page.addresses == []
    text = " ".join(page.text)
    for shown in ("Two <methods>", "A & B.", "40.6", "37.4 to 48.2", "detection evaluate a"):
        assert shown in text
    values = json.loads(files[2].read_text(encoding="utf-8"))
    assert [row["state"] for row in values["rows"]] == ["done", "missing", "waiting"]
    first = values["rows"][0]
    assert first["ours"] == 40.61
    assert first["interval"] == [37.36, 48.19]
    assert first["paper_classes"]["aeroplane"] == 0
    assert first["training_seconds_are_whole"] is False


def test_a_page_of_a_table_without_classes_has_no_section_of_them(tmp_path):
    plain, full = replace(TABLE, name="plain", per_class=False), TABLE
    pages = [write_table(table, RESULTS, tmp_path)[1] for table in (plain, full)]
    ids = [Page(path.read_text(encoding="utf-8")).ids for path in pages]
    assert [("classes" in found) for found in ids] == [False, True]
    assert "aeroplane" not in as_markdown(plain, RESULTS)
