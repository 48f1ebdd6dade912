"""The names of a YOLO folder's classes, and the YAML file that says where its images are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from detection.data.coco_file import is_file
from detection.data.issues import AnnotationIssue, composed
from detection.data.label_tables import fault, read_text
from detection.errors import DataError, shown
from detection.io.interrupts import raise_if_interrupted

MAX_CHARACTERS = 1 << 18
"""A longer YAML file is refused; one with the names of a thousand classes takes 30 KB."""

_CLASS_LISTS = ("classes.txt", "obj.names", "labels/classes.txt")
"""Where tools write the names of the classes, one a line, without a YAML file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YoloIndex:
    """The names of the classes and where the splits are.

    Attributes:
        path: of the YAML file or of the list of classes.
        names: class index -> name.
        content: of the YAML file; nothing for a list of classes.
        issues: what is wrong with the names.
    """

    path: Path
    names: Mapping[int, str]
    content: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[AnnotationIssue, ...] = ()


def looks_like_yolo(root: Path) -> bool:
    """Return whether a folder has the files that name YOLO's classes, sound or not."""
    if any(is_file(root / name) for name in ("data.yaml", *_CLASS_LISTS)):
        return True
    try:
        return bool(open_index(root).names)
    except DataError:
        return False


def open_index(root: Path) -> YoloIndex:
    """Find the names of the classes.

    Raises:
        DataError: if there are none, or several files that hold some.
    """
    usual = root / "data.yaml"
    paths = [usual] if is_file(usual) else sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    contents = {path: _load(path) for path in paths if not path.name.startswith(".")}
    named = [path for path, content in contents.items() if content.get("names")]
    if len(named) == 1:
        return _index_of(named[0], _names_of(named[0], contents[named[0]]["names"]), contents)
    if not named:
        for path in (root / name for name in _CLASS_LISTS):
            if is_file(path):
                lines = read_text(path).rstrip().splitlines()
                return _index_of(path, dict(enumerate(lines)), contents)
    got = ", ".join(path.name for path in named) or "none of them"
    message = (
        f"{root}: expected one YAML file with names, such as data.yaml, or classes.txt or "
        f"obj.names, got {got}; write or choose one"
    )
    raise DataError(message)


def _load(path: Path) -> dict[str, Any]:
    """Read a YAML file of plain values.

    Raises:
        DataError: for whatever PyYAML stumbles over.
    """
    text = read_text(path)
    got = f"{len(text):,} characters" if len(text) > MAX_CHARACTERS else ""
    if not got and re.search(r"<<['\"]?\s*:|!!merge", text):
        got = "merge keys"  # nested ones make a few lines fill the memory
    if got:
        message = (
            f"{path}: expected YAML of at most {MAX_CHARACTERS:,} characters without merge keys, "
            f"got {got}; keep the names and the splits only"
        )
        raise DataError(message)
    try:
        content = yaml.safe_load(text)
    except Exception as error:  # its constructors raise what they like
        raise_if_interrupted(error)
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        message = f"{path}: expected YAML, got an error: {reason}; correct it"
        raise DataError(message) from error
    return content if isinstance(content, dict) else {}


def _names_of(path: Path, names: object) -> dict[int, str]:
    """Return class index -> name of a YAML list or mapping.

    Raises:
        DataError: if it is neither, or holds what is no index or no name.
    """
    pairs = list(enumerate(names)) if isinstance(names, list) else None
    if isinstance(names, dict):
        pairs = [(_index(key), name) for key, name in names.items()]
    if pairs is None:
        message = f"{path}: names: expected a list or a mapping from 0 on, got {shown(names)}"
        raise DataError(message)
    for index, name in pairs:
        if index < 0 or not _is_name(name):
            message = (
                f"{path}: names: expected class indices from 0 and texts, got {shown(names)}; "
                "write each name in quotes"
            )
            raise DataError(message)
    return {index: str(name) for index, name in sorted(pairs)}


def _is_name(name: object) -> bool:
    """Return whether a value is a text or a plain number, which tools leave without quotes."""
    if isinstance(name, int | float) and not isinstance(name, bool):
        return abs(name) < 1 << 63
    return isinstance(name, str)


def _index(key: object) -> int:
    """Return a class index, also of a text; -1 for what is none."""
    if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10:
        return int(key)
    return key if isinstance(key, int) and not isinstance(key, bool) and key < 10**9 else -1


def _index_of(
    path: Path, names: Mapping[int, str], contents: Mapping[Path, Mapping[str, Any]]
) -> YoloIndex:
    """Return the index with names composed; those that are empty or alike are issues."""
    tidy = {index: composed(name.strip()) for index, name in names.items()}
    issues = []
    seen: dict[str, int] = {}
    for index, name in tidy.items():
        if not name or name in seen:
            got = f"{name[:60]!r} again, as of class {seen[name]}" if name else "an empty one"
            what = f"expected a name of its own, got {got}; correct it"
            issues.append(fault("bad category", f"{path.name}: class {index}", what))
        seen.setdefault(name, index)
    return YoloIndex(path=path, names=tidy, content=contents.get(path, {}), issues=tuple(issues))
