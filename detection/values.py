"""Values of the pipeline that hold no tensors: what reads label files alone need not load torch."""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int]
"""(height, width)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """An object or an image that was left out, or counts as missed.

    Attributes:
        file: the image or its annotation.
        kind: a few words, the same for all of a kind.
        reason: the object where it is one, expected, got, remedy.
    """

    file: str
    kind: str
    reason: str
