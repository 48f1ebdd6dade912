"""HTML pages that stand alone: one file, no network, escaped, for screen, phone and paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import detection
from detection.io.files import write_text_atomic
from detection.report.parts import Absent
from detection.words import counted

TEMPLATES = Path(__file__).parent / "templates"
DASH = "\N{EN DASH}"


def write_page(path: Path, template: str, values: Mapping[str, Any]) -> None:
    """Fill a template and write the page atomically.

    Raises:
        DataError: if the file cannot be written.
    """
    text = _environment().get_template(template).render(**values, version=detection.__version__)
    # A lone surrogate, as file names can hold, has no UTF-8.
    write_text_atomic(path, text.encode("utf-8", "replace").decode())


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["milliseconds"] = milliseconds
    environment.filters["counted"] = counted
    environment.tests["absent"] = lambda part: isinstance(part, Absent)
    return environment


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as a percentage without the sign; a dash for None and NaN."""
    if value is None or value != value:  # noqa: PLR0124
        return DASH
    return f"{100 * value:.{digits}f}"


def milliseconds(seconds: float | None) -> str:
    """Return seconds as milliseconds, three digits down to hundredths; a dash for None."""
    if seconds is None:
        return DASH
    value = 1000 * seconds
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.2f}"
