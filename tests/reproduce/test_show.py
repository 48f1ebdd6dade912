"""What a table looks like: as text, Markdown, HTML and JSON."""

import json
from dataclasses import replace

import pytest

from detection.report.page import DASH
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
        training=Duration(seconds=7200, whole=False, cpu_seconds=14_000, peak_gib=5.04),
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
    shown = ["first", "58.0", "40.6", "37.4", "to", "48.2", "4,952", ">", "2.0", "h"]
    cost = [">", "3.9", "h", "5.0", "GiB", "0.0512", "0.142"]
    assert lines[first].split() == [*shown, *cost]
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
        (
            {"trunk": "squeezenet"},
            "Not the paper's trunk (squeezenet): VOC2007 test, 4,952 images",
        ),
        (
            {"official": False, "num_images": 175, "trunk": "squeezenet"},
            "Not the paper's trunk (squeezenet). Not VOC numbers: VOC2007 test, 175 images",
        ),
    ],
)
def test_the_heading_says_whose_numbers_they_are(changed, expected):
    assert heading(TABLE, [replace(RESULTS[0], **changed), *RESULTS[1:]]) == expected


def test_a_table_of_which_nothing_ran_says_so():
    assert heading(TABLE, RESULTS[1:]) == "No row has run here"


def test_markdown_has_rows_classes_remarks_and_commands():
    text = as_markdown(TABLE, RESULTS)
    assert "| 37.4 to 48.2 | 4,952 | > 2.0 h | > 3.9 h | 5.0 GiB | 0.0512 | 0.142 |" in text
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
    assert (first["training_cpu_seconds"], first["training_peak_gib"]) == (14_000, 5.04)


def test_a_page_of_a_table_without_classes_has_no_section_of_them(tmp_path):
    plain, full = replace(TABLE, name="plain", per_class=False), TABLE
    pages = [write_table(table, RESULTS, tmp_path)[1] for table in (plain, full)]
    ids = [Page(path.read_text(encoding="utf-8")).ids for path in pages]
    assert [("classes" in found) for found in ids] == [False, True]
    assert "aeroplane" not in as_markdown(plain, RESULTS)


def test_a_table_that_is_in_no_paper_has_no_columns_of_one(tmp_path):
    rows = tuple(Row(name=row.name, training=row.training) for row in TABLE.rows)
    table = replace(TABLE, rows=rows)
    results = [replace(one, row=row) for one, row in zip(RESULTS, rows, strict=True)]
    text = as_text(table, results)
    assert "paper" not in text
    header = next(line for line in text.splitlines() if line.startswith("row"))
    names = ["ours", "95%", "interval", "images", "training", "CPU", "time", "memory", "s/image"]
    assert header.split() == ["row", *names]
    page = Page(write_table(table, results, tmp_path)[1].read_text(encoding="utf-8"))
    shown = " ".join(page.text)
    assert "Our numbers" in shown
    assert "the line the paper's" not in shown


def test_the_bar_of_an_interval_follows_our_number_with_and_without_a_paper(tmp_path):
    bare = tuple(Row(name=row.name, training=row.training) for row in TABLE.rows)
    for table in (TABLE, replace(TABLE, rows=bare)):
        results = [replace(one, row=row) for one, row in zip(RESULTS, table.rows, strict=True)]
        text = write_table(table, results, tmp_path)[1].read_text(encoding="utf-8")
        after = text.partition("<b>40.6</b></td>")[2].lstrip()
        assert after.startswith('<td class="extra"')


def test_a_cost_that_is_not_known_is_a_dash():
    unknown = replace(RESULTS[0], training=Duration(seconds=60))
    line = next(text for text in as_text(TABLE, [unknown]).splitlines() if text.startswith("first"))
    assert line.split()[-6:] == ["60", "s", DASH, DASH, "0.0512", "0.142"]


def test_a_table_that_is_in_no_paper_has_no_papers_trunk():
    table = replace(TABLE, rows=tuple(Row(name=row.name, training="a") for row in TABLE.rows))
    result = replace(RESULTS[0], row=table.rows[0], trunk="squeezenet", official=False)
    assert heading(table, [result]) == "Not VOC numbers: VOC2007 test, 4,952 images"


def test_a_row_that_cannot_be_says_so_in_every_format(tmp_path):
    never = replace(RESULTS[1], state="impossible", missing=("there is no fc6",))
    results = [RESULTS[0], never]
    line = "not possible: there is no fc6"
    assert f"    {line}" in as_text(TABLE, results).splitlines()
    assert f"- second: {line}" in as_markdown(TABLE, results)
    _, page, values = write_table(TABLE, results, tmp_path)
    assert line in " ".join(Page(page.read_text(encoding="utf-8")).text)
    rows = json.loads(values.read_text(encoding="utf-8"))["rows"]
    assert (rows[1]["state"], rows[1]["missing"]) == ("impossible", ["there is no fc6"])


def test_a_table_of_classifiers_has_both_errors(tmp_path):
    row = Row(name="ten", training="a", view="ten", paper=34.98, paper_top5=14.14)
    late = Row(name="many", training="a", view="all_maps", paper_top5=9.36)
    table = replace(TABLE, task="classification", timed=False, per_class=False, rows=(row, late))
    results = [
        replace(RESULTS[0], row=row, value=40.0, top5=17.26, num_images=50_000, tested_on="val"),
        RowResult(row=late, commands=()),
    ]
    lines = as_text(table, results).splitlines()
    header = next(line for line in lines if line.startswith("row"))
    shown = "row paper ours 95% interval paper top-5 top-5 images"
    assert " ".join(header.split()) == shown
    first = next(line for line in lines if line.startswith("ten"))
    assert first.split() == ["ten", "35.0", "40.0", "37.4", "to", "48.2", "14.1", "17.3", "50,000"]
    assert next(line for line in lines if line.startswith("many")).split()[1:] == [
        *(DASH, DASH, "9.4", DASH)
    ]
    _, page, values = write_table(table, results, tmp_path)
    assert "17.3" in " ".join(Page(page.read_text(encoding="utf-8")).text)
    rows = json.loads(values.read_text(encoding="utf-8"))["rows"]
    assert [one["paper_top5"] for one in rows] == [14.14, 9.36]
    assert [one["ours_top5"] for one in rows] == [17.26, None]
