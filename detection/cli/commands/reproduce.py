"""The command on the tables of both papers."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from detection.cli.command import Command, defaults, flag, folder, option
from detection.cli.parser import departures_in
from detection.config import Config
from detection.errors import ConfigError

if TYPE_CHECKING:
    from detection.reproduce.settings import Choices
    from detection.reproduce.table import Table


def reproduce(options: argparse.Namespace, config: Config) -> int:
    """Train and test the rows of a table of the papers, and compare with its numbers.

    Each row goes through what 'train' and 'evaluate' do, in run folders below --out; the same call
    goes on where it was ended. Settings of the command line hold for all rows; a --config file does
    where it does not change what makes a row what it is. With --trunk all rows are of a network
    whose weights are at hand. The exit code is 1 if a row cannot run here.
    """
    from detection.reproduce.settings import Choices, choose_rows, find_table
    from detection.reproduce.trunks import find_trunk, on_trunk

    if options.list:
        print(_listing())
        return 0
    if options.table is None:
        message = "reproduce: expected a table, got none; detection reproduce --list shows all"
        raise ConfigError(message)
    files, given = departures_in(options)
    table, trunk = find_table(options.table), None
    if options.trunk:
        trunk = find_trunk(options.trunk)
        table = on_trunk(table, trunk, given)
    table = choose_rows(table, options.rows or ())
    choices = Choices(
        out=options.out,
        data=options.data,
        files=tuple(map(str, options.config)),
        from_files=files,
        given=given,
        trunk=trunk,
    )
    return _run(table, choices)


def _run(table: Table, choices: Choices) -> int:
    """Make a table, and print it."""
    from detection.io.interrupts import is_interrupt
    from detection.reproduce.run import reproduce as run
    from detection.reproduce.show import as_text

    try:
        results = run(table, choices)
    except BaseException as error:
        if is_interrupt(error):
            sys.stderr.write("to continue: the same command\n")
        raise
    print(f"{as_text(table, results)}\n{choices.out / table.name}.md, .html, .json: written")
    return 0 if all(result.state in {"done", "impossible"} for result in results) else 1


def _listing() -> str:
    """Return every table with its rows and the published numbers."""
    from detection.reproduce.tables import TABLES

    lines = []
    for table in TABLES.values():
        lines.append(f"{table.name}: {table.title} ({table.source}), {table.measure}")
        for row in table.rows:
            paper = "-" if row.paper is None else f"{row.paper:g}"
            lines.append(f"  {row.name:<36} {paper:>6}")
    return "\n".join(lines)


REPRODUCE_COMMANDS = {
    "reproduce": Command(
        run=reproduce,
        options=(
            option("table", "the table to make", nargs="?"),
            flag("--list", "show all tables with their rows and stop"),
            option("--rows", "only those whose names hold one of these texts", nargs="+"),
            option(
                "--data",
                "voc as the presets say, or what the presets of these names train on",
                choices=("voc", "subset", "synthetic"),
                default="voc",
            ),
            option(
                "--trunk",
                "another network for all rows: squeezenet, or a file like configs/trunks/*.yaml",
            ),
            folder("--out", "where the run folders and tables go", "runs/tables"),
        ),
        base=defaults,
    ),
}
