import argparse
from pathlib import Path

import pytest

from detection.cli.command import Command, check_outputs, flag, folder, option, restart
from detection.cli.parser import Parser
from detection.errors import DataError


def nothing(options, config):
    """Do nothing at all.

    Not even later.
    """


@pytest.mark.parametrize(
    ("name", "settings", "usage"),
    [
        ("run", {}, "RUN"),
        ("others", {"nargs": "*"}, "[OTHERS ...]"),
        ("file", {"nargs": "?"}, "[FILE]"),
        ("inputs", {"nargs": "+"}, "INPUTS [INPUTS ...]"),
        ("--out", {}, ""),
    ],
)
def test_the_usage_of_a_positional_argument(name, settings, usage):
    assert option(name, "what it is", **settings).usage == usage


@pytest.mark.parametrize(
    ("default", "shown"),
    [(3, " (default: 3)"), (("a", "b"), " (default: a, b)"), (None, ""), ((), "")],
)
def test_the_help_shows_a_default_where_there_is_one(default, shown):
    parser = Parser(usage="x", description="y")
    option("--count", "how many", default=default).add_to(parser)
    assert f"how many{shown}\n" in parser.format_help()


def test_a_path_as_the_default_makes_an_option_a_path():
    parser = Parser(usage="x", description="y")
    option("--file", "what", default=Path("a")).add_to(parser)
    assert parser.parse_args(["--file", "b"]).file == Path("b")


def test_the_summary_is_the_first_line_of_the_description():
    command = Command(run=nothing, options=())
    assert command.summary == "Do nothing at all."
    assert command.description == "Do nothing at all. Not even later."


def test_the_flags_of_a_run_folder_that_is_not_new():
    given = argparse.Namespace(resume=True, override=False, overwrite=False, other=1)
    assert restart(given) == {"resume": True, "override": False, "overwrite": False}


def outputs(out, coco=None):
    options = (folder("--out", "where"), option("--coco", "a file", type=Path), flag("--x", "y"))
    given = argparse.Namespace(out=out, coco=coco, x=True)
    check_outputs(Command(run=nothing, options=options), given)


def test_a_new_folder_below_one_that_can_be_written_is_an_output(tmp_path):
    outputs(tmp_path / "a" / "b", tmp_path / "c.json")
    outputs(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_to_be_and_the_reverse_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="--out: expected a folder to write, got the file"):
        outputs(tmp_path / "file")
    with pytest.raises(DataError, match="--coco: expected a file to write, got the folder"):
        outputs(tmp_path, tmp_path)
    with pytest.raises(DataError, match="--out: expected a place that can be written"):
        outputs(tmp_path / "file" / "below")
