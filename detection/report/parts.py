"""What the sections of a report share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from detection.report.figures import as_svg

Section = dict[str, Any]
"""What a template shows as one section."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Why a section is not there, and the command that would add it."""

    why: str
    command: str = ""


def svg(figure: Figure, label: str, salt: str) -> Markup:
    """Return a figure as markup; its text was escaped when it was drawn."""
    return Markup(as_svg(figure, label=label, salt=salt))
