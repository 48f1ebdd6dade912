"""A font that has the letters of a label, or else the label in letters that every font has."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
from anyascii import anyascii
from fontTools.ttLib import TTFont, TTLibError
from matplotlib import font_manager
from PIL import ImageFont

_LOG = logging.getLogger(__name__)
_OWN = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
"""Matplotlib's bundled sans-serif font: Latin, Greek, Cyrillic and more, the same everywhere."""


def legible(text: str) -> tuple[str, Path]:
    """Return a text as it is to be drawn, and the font that has all its letters.

    The bundled font where it suffices; then any font of the system that has them; without one the
    romanised text (``qiu`` for ``球``), which is logged once.
    """
    letters = frozenset(text) - {" "}
    if letters <= _letters(_OWN):
        return text, _OWN
    path = _system_font(letters)
    if path is not None:
        return text, path
    _warn(text)
    return anyascii(text), _OWN


@lru_cache(maxsize=64)
def font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """Return a font in a size, pixels."""
    return ImageFont.truetype(str(path), size)


@lru_cache(maxsize=256)
def _system_font(letters: frozenset[str]) -> Path | None:
    """Return the first font of the system, by name, that has all these letters."""
    return next((path for path in _system_fonts() if letters <= _letters(path)), None)


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[Path, ...]:
    return tuple(sorted(Path(path) for path in font_manager.findSystemFonts()))


@lru_cache(maxsize=512)
def _letters(path: Path) -> frozenset[str]:
    """Return the letters of a font file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            codes: Iterable[int] = TTFont(file, fontNumber=0, lazy=True).getBestCmap() or ()
            return frozenset(map(chr, codes))
    except (TTLibError, OSError, AssertionError, KeyError, ValueError):
        return frozenset()


@lru_cache(maxsize=1024)
def _warn(text: str) -> None:
    _LOG.warning("label %r: no font here has its letters; drawn as %r", text, anyascii(text))
