"""Options: those of a command, and one for every field of the configuration.

The types, defaults and explanations are those of the dataclasses; values pass through the same
conversion as configuration files.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from detection.config import Config
from detection.errors import ConfigError
from detection.runs.config_io import (
    Departures,
    apply,
    config_to_dict,
    did_you_mean,
    may_repeat,
    merge,
    read_config_file,
    read_repeated,
    section_hints,
)
from detection.runs.presets import find_config


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ConfigError, in one line, for every mistake."""

    def __init__(self, usage: str, description: str) -> None:
        super().__init__(usage=usage, description=description, allow_abbrev=False)
        self.add_argument(
            "--debug", action="store_true", help="show where in the programme an error arose"
        )

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise ConfigError(message.removeprefix("argument "))

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Read the arguments.

        Raises:
            ConfigError: for a missing, unknown or wrong one.
        """
        options, unknown = self.parse_known_intermixed_args(list(arguments))
        if unknown:
            names = [word.split("=")[0] for word in unknown if word.startswith("-")]
            name = names[0] if names else unknown[0]
            what = "option" if names else "argument"
            message = f"{name}: unknown {what}{did_you_mean(name, self._option_string_actions)}"
            raise ConfigError(message)
        return options


def add_config_options(parser: Parser, sections: Collection[str]) -> None:
    """Add ``--config``, ``--print_config`` and an option for every field of some sections."""
    parser.add_argument(
        "--config",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file of settings, or a preset that `detection configs` lists; may be given "
        "several times, the last one holds",
    )
    parser.add_argument(
        "--print_config", action="store_true", help="show every setting as YAML and stop"
    )
    defaults = config_to_dict(Config())
    for section, cls in get_type_hints(Config).items():
        if section not in sections:
            continue
        group = parser.add_argument_group(f"{section}: {_first_line(cls)}")
        explanations = attribute_docs(cls)
        for name, hint in section_hints()[section].items():
            shown = show_value(defaults[section][name])
            text = f"{explanations.get(name, '')} (default: {shown})".replace("%", "%%")
            group.add_argument(
                f"--{section}.{name}",
                metavar=_placeholder(hint),
                action="append" if may_repeat(section, name) else "store",
                default=argparse.SUPPRESS,
                help=text,
            )


def resolve_config(options: argparse.Namespace, base: Config, sections: Collection[str]) -> Config:
    """Return ``base`` with the ``--config`` files and then the options applied.

    Args:
        options: as parsed.
        base: what holds where nothing is said.
        sections: what a file says about others is checked, and left out.

    Raises:
        ConfigError: for an unknown name, a wrong type or a value out of range.
    """
    departures = merge(*departures_in(options))
    return apply(base, {name: departures[name] for name in departures if name in sections})


def departures_in(options: argparse.Namespace) -> tuple[Departures, Departures]:
    """Return what the ``--config`` files say, and what the options say.

    Args:
        options: as parsed.

    Raises:
        ConfigError: for an unknown name or a wrong type.
    """
    files = [read_config_file(find_config(path)) for path in options.config]
    given: Departures = {}
    for key, text in vars(options).items():
        section, dot, name = key.partition(".")
        if dot:
            texts = text if isinstance(text, list) else [text]
            given.setdefault(section, {})[name] = read_repeated(section, name, texts)
    return merge(*files), given


def attribute_docs(cls: type) -> dict[str, str]:
    """Read a dataclass's field explanations from the ``Attributes`` of its docstring."""
    text = (cls.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^ {8}(\w+): (.*(?:\n {9,}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(words.replace("``", "").split()) for name, words in entries}


def show_value(value: Any) -> str:
    """Return a value as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(show_value, value)) or "none"
    return str(value) if value not in {"", None} else "none"


def _first_line(cls: type) -> str:
    """Return the first line of a docstring without its full stop."""
    return (cls.__doc__ or "").split("\n", maxsplit=1)[0].rstrip(".")


def _placeholder(hint: Any) -> str:
    """Return how the usage shows a value."""
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, get_args(hint))) + "}"
    if get_origin(hint) is tuple:
        inner = _placeholder(get_args(hint)[0])
        return f"{inner},{inner}"
    return {bool: "{true,false}", int: "N", float: "X"}.get(hint, "TEXT")


def whole_number(text: str) -> int:
    """Read a number of things: at least one."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        message = f"expected a whole number >= 1, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return number
