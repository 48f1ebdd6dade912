from __future__ import annotations

import dataclasses
from typing import get_type_hints

import pytest

from detection.cli.command import SECTIONS
from detection.cli.commands import COMMANDS
from detection.cli.main import build_parser, main
from detection.cli.parser import attribute_docs
from detection.config import Config
from detection.runs.config_io import config_to_dict


@pytest.mark.parametrize(
    "usage",
    [
        "detection detect RUN INPUTS [INPUTS ...] [options]",
        "detection serve RUN [OTHERS ...] [options]",
        "detection weights ACTION [FILE] [options]",
    ],
)
def test_the_usage_says_what_may_be_left_out(
    usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([usage.split()[1], "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: {usage}\n")


def test_every_option_is_explained_in_its_dataclass() -> None:
    for cls in get_type_hints(Config).values():
        assert set(attribute_docs(cls)) == {field.name for field in dataclasses.fields(cls)}


def test_every_field_is_an_option() -> None:
    parser = build_parser("train")
    text = parser.format_help()
    for section in COMMANDS["train"].sections:
        for name in config_to_dict(Config())[section]:
            assert f"--{section}.{name} " in text
    assert {section for command in COMMANDS.values() for section in command.sections} == set(
        SECTIONS
    )
