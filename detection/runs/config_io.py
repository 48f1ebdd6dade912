"""Configurations as plain dictionaries and YAML files; unknown names and wrong types are refused.

Options, files and stored configurations all pass through one conversion, so that each mistake is
reported in the same words. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from detection.config import Config
from detection.errors import ConfigError, shown
from detection.io.interrupts import raise_if_interrupted
from detection.io.reading import require_plain

Departures = dict[str, dict[str, Any]]
"""Section -> field -> value: where a configuration departs from another."""

MAX_BYTES = 1 << 18
"""A longer configuration file is refused; one that names every option takes 4 KB."""

MAX_MERGED = 1000
"""Merge keys (``<<``) may make a mapping of so many entries; nested ones grow without bound."""


def config_to_dict(config: Config) -> Departures:
    """Return every value of a configuration as plain data for JSON and YAML.

    Law: ``config_from_dict(config_to_dict(c)) == c``.
    """
    return {
        section.name: {
            field.name: _plain(getattr(getattr(config, section.name), field.name))
            for field in fields(getattr(config, section.name))
        }
        for section in fields(Config)
    }


def config_from_dict(values: Mapping[str, Any], location: str = "config") -> Config:
    """Build a configuration; what is not named keeps its default.

    Args:
        values: section -> field -> value.
        location: where they come from, for the message.

    Raises:
        ConfigError: for an unknown name, a wrong type, or a value out of range.
    """
    return apply(Config(), read_departures(values, location))


def read_departures(values: object, location: str) -> Departures:
    """Check the names and types of a file's or dictionary's options, and convert the values.

    Raises:
        ConfigError: for an unknown name or a wrong type; the message starts with ``location``.
    """
    if not isinstance(values, Mapping):
        message = f"{location}: expected section: {{option: value}}, got {shown(values)}"
        raise ConfigError(message)
    hints = section_hints()
    departures: Departures = {}
    for section, options in values.items():
        if section not in hints:
            message = f"{location}: {_name(section)}: unknown section{did_you_mean(section, hints)}"
            raise ConfigError(message)
        if not isinstance(options, Mapping):
            message = f"{location}: {section}: expected options and values, got {shown(options)}"
            raise ConfigError(message)
        departures[section] = {
            name: _convert_option(section, name, value, location) for name, value in options.items()
        }
    return departures


def read_option(section: str, name: str, text: str) -> Any:
    """Convert the text of one command-line option; a tuple is written ``480,576`` or ``[480,576]``.

    Raises:
        ConfigError: for a wrong type.
    """
    hint = section_hints()[section][name]
    if hint is str or get_origin(hint) is Literal:
        return _convert(text, hint, f"--{section}.{name}")
    value = _read_yaml(text)
    if may_repeat(section, name):  # a text may hold commas
        return _convert(value if isinstance(value, list) else text, hint, f"--{section}.{name}")
    if get_origin(hint) is tuple and not isinstance(value, list):
        strings = get_args(hint)[0] is str
        value = [part.strip() if strings else _read_yaml(part) for part in text.split(",")]
    return _convert(value, hint, f"--{section}.{name}")


def read_repeated(section: str, name: str, texts: Sequence[str]) -> Any:
    """Convert the texts of an option that was given once or several times.

    Raises:
        ConfigError: for a wrong type.
    """
    if len(texts) == 1:
        return read_option(section, name, texts[0])
    values = [read_option(section, name, text) for text in texts]
    return tuple(
        item for value in values for item in (value if isinstance(value, tuple) else (value,))
    )


def may_repeat(section: str, name: str) -> bool:
    """Return whether an option is a text or several, which add up where it is given again."""
    return bool(section_hints()[section][name] == str | tuple[str, ...])


def read_config_file(path: Path) -> Departures:
    """Read the departures that a YAML file holds.

    Raises:
        ConfigError: if the file cannot be read or is not YAML, for an unknown name and a wrong
            type; the message names the file.
    """
    require_plain(path, "a configuration", ConfigError)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}"
        raise ConfigError(message) from error
    if len(data) > MAX_BYTES:
        message = f"{path}: expected at most {MAX_BYTES:,} bytes, got more; not a configuration"
        raise ConfigError(message)
    try:
        values = _parse_yaml(data.decode("utf-8"))
    except ValueError as error:
        message = f"{path}: expected YAML, got an error: {' '.join(str(error).split())}"
        raise ConfigError(message) from error
    return read_departures({} if values is None else values, str(path))


def write_config(config: Config) -> str:
    """Return a complete configuration as YAML that ``read_config_file`` can parse."""
    text: str = yaml.safe_dump(config_to_dict(config), sort_keys=False, default_flow_style=None)
    return text


def merge(*sources: Departures) -> Departures:
    """Join departures; where two name the same option, the later one holds."""
    merged: Departures = {}
    for source in sources:
        for section, options in source.items():
            merged[section] = {**merged.get(section, {}), **options}
    return merged


def apply(config: Config, departures: Departures) -> Config:
    """Return the configuration with the departures applied.

    Raises:
        ConfigError: for a value out of range.
    """
    changed = {
        section: replace(getattr(config, section), **options)
        for section, options in departures.items()
    }
    return replace(config, **changed)


def difference(old: Config, new: Config) -> list[str]:
    """List what changed, one ``section.option: old -> new`` each."""
    before, after = config_to_dict(old), config_to_dict(new)
    return [
        f"{section}.{name}: {before[section][name]!r} -> {value!r}"
        for section, options in after.items()
        for name, value in options.items()
        if before[section][name] != value
    ]


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` if a known word is close, otherwise an empty string."""
    close = difflib.get_close_matches(_name(word), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


@functools.cache
def section_hints() -> dict[str, dict[str, Any]]:
    """Return section -> option -> type, in the order of the configuration."""
    return {name: get_type_hints(cls) for name, cls in get_type_hints(Config).items()}


def describe_type(hint: Any) -> str:
    """Return in words what a type accepts."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        inner = describe_type(arguments[0]).split(" ", 1)[1]
        several = (
            inner.replace("list", "lists") if get_origin(arguments[0]) is tuple else f"{inner}s"
        )
        return f"a list of {several}"
    if origin is tuple:
        return f"{len(arguments)} values"
    if origin in {Union, type(int | None)}:
        return " or ".join(describe_type(argument) for argument in arguments)
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return "null" if hint is NoneType else names.get(hint, str(hint))


def _name(word: object) -> str:
    """Return a truncated repr of a value that should have been a name."""
    return word[:80] if isinstance(word, str) else shown(word)


def _convert_option(section: str, name: object, value: object, location: str) -> Any:
    """Convert the value of one option of a file."""
    hints = section_hints()
    if name not in hints[section]:
        known = [f"{other}.{option}" for other in hints for option in hints[other]]
        option = f"{section}.{_name(name)}"
        message = f"{location}: {option}: unknown option{did_you_mean(option, known)}"
        raise ConfigError(message)
    return _convert(value, hints[section][str(name)], f"{location}: {section}.{name}")


_REFUSED = object()
"""What a conversion returns for a value that is not of its type; None is a value like any other."""


def _convert(value: Any, hint: Any, location: str) -> Any:
    """Return ``value`` converted to the type ``hint``, or raise ConfigError."""
    converted = _try_convert(value, hint, location)
    if converted is not _REFUSED:
        return converted
    is_choice = get_origin(hint) is Literal
    near = did_you_mean(value, map(str, get_args(hint))) if is_choice else ""
    message = f"{location}: expected {describe_type(hint)}, got {shown(value)}{near}"
    raise ConfigError(message)


def _try_convert(value: Any, hint: Any, location: str) -> Any:
    """Return ``value`` converted to the type ``hint``, or ``_REFUSED``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        # True == 1 == 1.0 in Python: a choice also has to have the type of one of its kind.
        is_known = value in arguments and type(value) in map(type, arguments)
        return value if is_known else _REFUSED
    if origin is tuple:
        return _convert_tuple(value, arguments, location)
    if origin in {Union, type(int | None)}:
        converted = (_try_member(value, argument, location) for argument in arguments)
        return next((one for one in converted if one is not _REFUSED), _REFUSED)
    return _convert_plain(value, hint)


def _try_member(value: Any, hint: Any, location: str) -> Any:
    """Try one member of a union: what is wrong inside it is no error while others are left."""
    try:
        return _try_convert(value, hint, location)
    except ConfigError:
        return _REFUSED


def _convert_tuple(value: Any, types: tuple[Any, ...], location: str) -> Any:
    """Convert a list of the right length; a wrong element is an error with its own message."""
    if not isinstance(value, list | tuple):
        return _REFUSED
    if types[-1] is Ellipsis:
        types = (types[0],) * len(value)
    if len(types) != len(value):
        return _REFUSED
    return tuple(_convert(v, t, location) for v, t in zip(value, types, strict=True))


def _convert_plain(value: Any, hint: Any) -> Any:
    """Convert a single value."""
    if hint is NoneType and value is None:
        return None
    # ``bool`` is an ``int`` to isinstance, but ``true`` is no number to who wrote the file.
    if hint is float and not isinstance(value, bool) and isinstance(value, int | float | str):
        number = _to_float(value)
        return _REFUSED if number is None else number
    if hint in {int, bool, str} and type(value) is hint and _can_be_written(value):
        return value
    return _REFUSED


def _read_yaml(text: str) -> Any:
    """Read a value as YAML does; what is not YAML stays a text."""
    try:
        return _parse_yaml(text)
    except ValueError:
        return text


def _parse_yaml(text: str) -> Any:
    """Read YAML of plain values.

    Raises:
        ValueError: for whatever PyYAML stumbles over.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except Exception as error:  # its constructors raise what they like, ``!!int ''`` an IndexError
        raise_if_interrupted(error)
        message = str(error)[:300] or type(error).__name__
        raise ValueError(message) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with a limit on merge keys."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put merged entries into a mapping.

        Raises:
            YAMLError: if there are too many.
        """
        super().flatten_mapping(node)
        if len(node.value) > MAX_MERGED:
            message = f"more than {MAX_MERGED} merged entries"
            raise yaml.YAMLError(message)


def _can_be_written(value: float | str) -> bool:
    """Return whether a number is of a sane size, and a string valid Unicode."""
    if isinstance(value, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in value)
    return abs(value) < 2**63


def _to_float(value: float | str) -> float | None:
    """Return a float, also from ``1e-4``, which PyYAML reads as a string; None for NaN."""
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _plain(value: Any) -> Any:
    """Return a value that both JSON and YAML can hold; an infinity becomes a string."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value
