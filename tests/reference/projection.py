"""From a box to cells: SPP Appendix A, and the released code, one box at a time."""

from __future__ import annotations

import math


def paper_range(x1: int, x2: int, stride: int, offset: float) -> tuple[int, int]:
    """Return the first and last cell (0-based) of the pixels x1 to x2 (0-based, inclusive).

    ``left: floor(x / S) + 1, right: ceil(x / S) - 1``, with the offset of the padding at hand.
    """
    return math.floor((x1 - offset) / stride) + 1, math.ceil((x2 - offset) / stride) - 1


def released_range(
    x1: float, x2: float, cells: int, *, step: int, offset0: float, offset: float
) -> tuple[int, int]:
    """Return the first and last cell, 1-based, of the 1-based inclusive pixels x1 to x2."""
    first = math.floor((x1 - offset0 + offset) / step + 0.5) + 1
    last = math.ceil((x2 - offset0 - offset) / step - 0.5) + 1
    if first > last:
        first = last = int((first + last) / 2)
    return min(max(first, 1), cells), min(max(last, 1), cells)


def released_scale_of_pixel(x: float, short_side: int, image_short_side: int) -> float:
    """Carry a 1-based pixel number to the resized image."""
    return (x - 1) * (short_side - 1) / (image_short_side - 1) + 1


def released_windows(
    box: tuple[int, int, int, int],
    image: tuple[int, int],
    scale: int,
    cells: tuple[int, int],
    *,
    step: int,
    offset0: float,
    offset: float,
) -> tuple[int, int, int, int]:
    """Return the 1-based cells x1 y1 x2 y2 of a 1-based box: one factor for both axes.

    ``image`` is (height, width), ``cells`` (rows, columns); ``scale`` the side that the shorter one
    is resized to.
    """
    x1, y1, x2, y2 = (released_scale_of_pixel(v, scale, min(image)) for v in box)
    rule = {"step": step, "offset0": offset0, "offset": offset}
    left, right = released_range(x1, x2, cells[1], **rule)
    top, bottom = released_range(y1, y2, cells[0], **rule)
    return left, top, right, bottom


def released_scale_index(box: tuple[float, ...], image_short_side: int, scales: list[int]) -> int:
    """Choose a scale for a 1-based inclusive box: the one nearest to 208 pixels a side."""
    x1, y1, x2, y2 = box
    area = (x2 - x1 + 1) * (y2 - y1 + 1)
    expected = math.floor(13 * 16 * image_short_side / math.sqrt(area) + 0.5)
    distances = [abs(scale - expected) for scale in scales]
    return distances.index(min(distances))


def paper_scale_index(box: tuple[float, ...], image_short_side: int, scales: list[int]) -> int:
    """Choose the scale at which the box's pixels are nearest to 224 x 224."""
    x1, y1, x2, y2 = box
    distances = [
        abs((x2 - x1) * (y2 - y1) * (scale / image_short_side) ** 2 - 224 * 224) for scale in scales
    ]
    return distances.index(min(distances))
