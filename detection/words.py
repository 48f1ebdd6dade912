"""Numbers with their nouns, as text."""

from __future__ import annotations


def counted(number: float | str, noun: str, many: str = "", spec: str = "") -> str:
    """Return a number and its noun, in the singular after 1: ``1 image``, ``2 images``.

    Args:
        number: how many; a word such as ``unknown`` takes the plural.
        noun: in the singular.
        many: its plural; empty adds an s, or es where the singular ends in s, x or ch.
        spec: how the number is written, as in an f-string.
    """
    plural = many or noun + ("es" if noun.endswith(("s", "x", "ch")) else "s")
    return f"{number:{spec}} {noun if number == 1 else plural}"
