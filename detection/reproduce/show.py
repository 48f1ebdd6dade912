"""A table as text, Markdown, HTML and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detection.io.files import to_plain, write_json_atomic, write_text_atomic
from detection.report.page import DASH, write_page
from detection.reproduce.results import Duration, RowResult
from detection.reproduce.table import VOC_CLASSES, Table, Task
from detection.words import counted

_DATA: dict[Task, str] = {
    "detection": "VOC",
    "classification": "ImageNet",
    "images": "VOC",
    "folders": "Caltech101",
}
"""What the papers' numbers are of."""


def write_table(table: Table, results: Sequence[RowResult], out: Path) -> tuple[Path, ...]:
    """Write a table as Markdown, HTML and JSON, each atomically; return the files.

    Args:
        table: what was to be made.
        results: of its rows, in their order.
        out: the folder.
    """
    base = out / table.name
    markdown, page, values = (base.with_suffix(end) for end in (".md", ".html", ".json"))
    write_text_atomic(markdown, as_markdown(table, results))
    write_page(page, "reproduce.html.j2", _page(table, results))
    write_json_atomic(values, as_values(table, results))
    return markdown, page, values


def heading(table: Table, results: Sequence[RowResult]) -> str:
    """Return what was tested on, and whether the paper has the same trunk and images."""
    done = [result for result in results if result.state == "done"]
    if not done:
        return "No row has run here"
    sets = dict.fromkeys(
        f"{one.tested_on}, {counted(one.num_images, 'image', spec=',')}" for one in done
    )
    where = "; ".join(sets)
    trunks = ", ".join(dict.fromkeys(one.trunk for one in done if one.trunk))
    doubts = [f"Not the paper's trunk ({trunks})"] if trunks and is_published(table) else []
    if not all(one.official for one in done):
        doubts.append(f"Not {_DATA[table.task]} numbers")
    return ": ".join([". ".join(doubts), where]) if doubts else where


def as_text(table: Table, results: Sequence[RowResult]) -> str:
    """Return the table for a terminal: a line of numbers a row, its commands below it."""
    columns = _columns(table)
    body = [_cells(table, result) for result in results]
    widths = [max(len(line[n]) for line in (columns, *body)) for n in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        aligned = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        return "  ".join([first.ljust(widths[0]), *aligned]).rstrip()

    lines = [f"{table.name}: {table.title} ({table.source}), {table.measure}"]
    lines += [heading(table, results), "", line(columns)]
    for result, cells in zip(results, body, strict=True):
        lines += [line(cells), *(f"    {text}" for text in _remarks(result))]
        lines += [f"    $ {command}" for command in result.commands]
    return "\n".join(lines)


def as_markdown(table: Table, results: Sequence[RowResult]) -> str:
    """Return the table as Markdown."""
    columns = _columns(table)
    lines = [f"# {table.title}", "", f"{table.source}. {table.measure}.", ""]
    lines += [f"**{heading(table, results)}**", "", *([table.note, ""] if table.note else [])]
    lines += [_markdown_row(columns), _markdown_row(["---", *["---:"] * (len(columns) - 1)])]
    lines += [_markdown_row(_cells(table, result)) for result in results]
    names = _class_names(table, results)
    if names:
        lines += ["", _markdown_row(["AP, %", *names]), _markdown_row(["---"] * (len(names) + 1))]
        lines += [_markdown_row(cells) for one in results for cells in _class_rows(one, names)]
    remarks = [f"- {one.row.name}: {text}" for one in results for text in _remarks(one)]
    lines += ["", *remarks, ""] if remarks else [""]
    lines.append("```bash")
    lines += dict.fromkeys(command for one in results for command in one.commands)
    return "\n".join([*lines, "```", ""])


def as_values(table: Table, results: Sequence[RowResult]) -> dict[str, Any]:
    """Return the table as plain values."""
    values: dict[str, Any] = to_plain(
        {
            "table": table.name,
            "title": table.title,
            "source": table.source,
            "measure": table.measure,
            "heading": heading(table, results),
            "note": table.note,
            "rows": [_row_values(table, result) for result in results],
        }
    )
    return values


def _row_values(table: Table, result: RowResult) -> dict[str, Any]:
    row = result.row
    values: dict[str, Any] = {
        "row": row.name,
        "state": result.state,
        "missing": list(result.missing),
        "paper": row.paper,
        "ours": result.value,
        "interval": None if result.interval is None else list(result.interval),
        "images": result.num_images,
        "tested_on": result.tested_on,
        "official": result.official,
        "trunk": result.trunk,
        "notes": list(result.notes),
        "commands": list(result.commands),
    }
    if table.task == "folders":
        values["deviation"] = result.deviation
    if table.task == "classification":
        values |= {"paper_top5": row.paper_top5, "ours_top5": result.top5}
    if row.paper_classes:
        values["paper_classes"] = dict(zip(VOC_CLASSES, row.paper_classes, strict=True))
    if result.classes:
        values["classes"] = dict(result.classes)
    if table.timed:
        training = result.training
        values |= {
            "paper_seconds_an_image": row.paper_seconds,
            "seconds_an_image": result.seconds,
            "training_seconds": None if training is None else training.seconds,
            "training_seconds_are_whole": training is not None and training.whole,
            "training_cpu_seconds": None if training is None else training.cpu_seconds,
            "training_peak_gib": None if training is None else training.peak_gib,
        }
    return values


def _page(table: Table, results: Sequence[RowResult]) -> dict[str, Any]:
    names = _class_names(table, results)
    return {
        "title": table.title,
        "table": table,
        "heading": heading(table, results),
        "columns": _columns(table),
        "published": is_published(table),
        "rows": [
            {
                "cells": _cells(table, one),
                "remarks": _remarks(one),
                "state": one.state,
                "commands": one.commands,
                "value": one.value,
                "interval": _shade(one),
                "paper": one.row.paper,
            }
            for one in results
        ],
        "classes": names,
        "class_rows": [cells for one in results for cells in _class_rows(one, names)],
    }


def is_published(table: Table) -> bool:
    """Return whether a paper has numbers of any row."""
    return any(row.paper is not None or row.paper_top5 is not None for row in table.rows)


def _columns(table: Table) -> list[str]:
    """Return the headings; a table that is in no paper has no column of a paper's numbers."""
    published = is_published(table)
    columns = ["row", *(["paper"] if published else []), "ours", table.spread]
    if table.task == "classification":
        columns += ["paper top-5", "top-5"] if published else ["top-5"]
    columns.append("images")
    if table.timed:
        columns += ["training", "CPU time", "memory", "s/image"]
        columns += ["paper s/image"] if published else []
    return columns


def _cells(table: Table, result: RowResult) -> list[str]:
    """Return a row's cells, in the order of ``_columns``."""
    interval = "" if result.interval is None else "{:.1f} to {:.1f}".format(*result.interval)
    cells = {
        "row": result.row.name,
        "paper": _number(result.row.paper),
        "ours": _number(result.value),
        "95% interval": interval,
        "std. dev.": _number(result.deviation),
        "paper top-5": _number(result.row.paper_top5),
        "top-5": _number(result.top5),
        "images": f"{result.num_images:,}" if result.num_images else "",
        "training": _length(result.training, cpu=False),
        "CPU time": _length(result.training, cpu=True),
        "memory": _memory(result.training),
        "s/image": _time(result.seconds),
        "paper s/image": _time(result.row.paper_seconds),
    }
    return [cells[name] for name in _columns(table)]


def _shade(result: RowResult) -> tuple[float, float] | None:
    """Return the interval, or one standard deviation to both sides."""
    if result.deviation is None or result.value is None:
        return result.interval
    return result.value - result.deviation, result.value + result.deviation


def _remarks(result: RowResult) -> list[str]:
    """Return what a row lacks, or what makes it another number than the paper's."""
    if result.state == "waiting":
        return ["has not run yet"]
    kind = "not possible" if result.state == "impossible" else "cannot run here"
    lacks = [f"{kind}: {line}" for line in result.missing]
    return lacks + list(result.notes)


def _class_names(table: Table, results: Sequence[RowResult]) -> list[str]:
    """Return the classes in the papers' order; those of the data where it has others."""
    if not table.per_class:
        return []
    known = [name for one in results for name in one.classes or ()]
    if not known:
        return list(VOC_CLASSES) if any(one.row.paper_classes for one in results) else []
    names = list(dict.fromkeys(known))
    return [name for name in VOC_CLASSES if name in names] + [
        name for name in names if name not in VOC_CLASSES
    ]


def _class_rows(result: RowResult, names: Sequence[str]) -> list[list[str]]:
    """Return a row's APs, and the paper's below them where it has them; nothing of no classes."""
    if not names:
        return []
    rows = []
    if result.classes:
        rows.append([result.row.name, *(_number(result.classes.get(name)) for name in names)])
    if result.row.paper_classes:
        paper = dict(zip(VOC_CLASSES, result.row.paper_classes, strict=True))
        rows.append([f"{result.row.name} (paper)", *(_number(paper.get(name)) for name in names)])
    return rows


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"


def _time(seconds: float | None) -> str:
    return DASH if seconds is None else f"{seconds:.3g}"


def _length(duration: Duration | None, *, cpu: bool) -> str:
    """Return a training's time; ``>`` where a part of it is not known."""
    seconds = None if duration is None else duration.cpu_seconds if cpu else duration.seconds
    if duration is None or seconds is None:
        return DASH
    text = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    text = f"{seconds / 3600:.1f} h" if seconds >= 6000 else text
    return text if duration.whole else f"> {text}"


def _memory(duration: Duration | None) -> str:
    """Return the peak memory of a training."""
    peak = None if duration is None else duration.peak_gib
    return DASH if peak is None else f"{peak:.1f} GiB"
