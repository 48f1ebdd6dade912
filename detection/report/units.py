"""``detection explore pool5``: units of pool5 with the regions that fire them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from detection.data.images import read_image
from detection.report.drawing import Box, Embedded, Mark, draw_marks, embed
from detection.report.page import write_page
from detection.report.palette import HIGHLIGHT
from detection.structures import Image

MAX_SIDE = 170
"""Longer side of a region on the page, pixels."""
_AROUND = 0.04
"""Of a region's sides, shown around what the unit sees."""
_FIELD = "#ffffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRegion:
    """A region to draw.

    Attributes:
        path: of its image.
        image_id: of it.
        box: image pixels.
        field: what the unit sees, image pixels.
        value: as a fraction of the unit's largest.
        text: whose region it is.
    """

    path: Path
    image_id: str
    box: Box
    field: Box
    value: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownUnit:
    """A unit to draw.

    Attributes:
        name: which one.
        text: what fires it, in a few words.
        regions: best first.
    """

    name: str
    text: str
    regions: tuple[ShownRegion, ...]


def write_units(
    units: Sequence[ShownUnit], output: Path, *, title: str, facts: str, max_pixels: int
) -> None:
    """Write one self-contained HTML page that shows what fires units of pool5.

    Args:
        units: to show.
        output: the HTML file.
        title: of the page.
        facts: what was looked at, a sentence.
        max_pixels: a larger image is not decoded.

    Raises:
        DataError: if an image cannot be read, or the page cannot be written.
    """
    shown = [
        {
            "name": unit.name,
            "text": unit.text,
            "regions": [
                {
                    "image": draw_region(one, max_pixels=max_pixels),
                    "text": one.text,
                    "value": f"{one.value:.2f}",
                    "image_id": one.image_id,
                }
                for one in unit.regions
            ],
        }
        for unit in units
    ]
    write_page(output, "units.html.j2", {"title": title, "facts": facts, "units": shown})


def draw_region(region: ShownRegion, *, max_pixels: int) -> Embedded:
    """Return a region with what lies around it, and the outline of what the unit sees.

    Args:
        region: to draw.
        max_pixels: a larger image is not decoded.
    """
    image = read_image(region.path, region.image_id, max_pixels=max_pixels)
    left, top, right, bottom = frame(region.box, region.field, image.size)
    part = image.pixels[top:bottom, left:right].contiguous()

    def moved(box: Box) -> Box:
        return box[0] - left, box[1] - top, box[2] - left, box[3] - top

    marks = [
        Mark(box=moved(region.field), colour=_FIELD, line="dashed"),
        Mark(box=moved(region.box), colour=HIGHLIGHT),
    ]
    cut = Image(image_id=region.image_id, pixels=part)
    return embed(draw_marks(_enlarged(cut), _scaled(marks, cut), max_side=MAX_SIDE))


def frame(box: Box, field: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the whole pixels x1 y1 x2 y2 that hold both boxes and a little more.

    Args:
        box: image pixels.
        field: image pixels.
        size: (height, width) of the image.
    """
    x1, y1 = min(box[0], field[0]), min(box[1], field[1])
    x2, y2 = max(box[2], field[2]), max(box[3], field[3])
    more_x, more_y = _AROUND * (x2 - x1), _AROUND * (y2 - y1)
    left, top = int(max(x1 - more_x, 0)), int(max(y1 - more_y, 0))
    right = max(round(min(x2 + more_x, size[1])), left + 1)
    bottom = max(round(min(y2 + more_y, size[0])), top + 1)
    return left, top, right, bottom


def _zoom(image: Image) -> int:
    """Return how often a small image is repeated, so that lines on it stay thin."""
    return max(1, -(-MAX_SIDE // max(image.size)))


def _enlarged(image: Image) -> Image:
    times = _zoom(image)
    pixels = torch.repeat_interleave(image.pixels, times, dim=0)
    pixels = torch.repeat_interleave(pixels, times, dim=1)
    return Image(image_id=image.image_id, pixels=pixels)


def _scaled(marks: Sequence[Mark], image: Image) -> list[Mark]:
    times = _zoom(image)
    return [
        Mark(
            box=(
                mark.box[0] * times,
                mark.box[1] * times,
                mark.box[2] * times,
                mark.box[3] * times,
            ),
            colour=mark.colour,
            line=mark.line,
        )
        for mark in marks
    ]
