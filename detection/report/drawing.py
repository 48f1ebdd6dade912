"""Boxes and labels drawn on images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from PIL import Image as PilImage
from PIL import ImageDraw
from torch import Tensor

from detection.report.fonts import font, legible
from detection.report.palette import HIGHLIGHT, class_colour, ink_on
from detection.structures import Detections, GroundTruth, Image

Box = tuple[float, float, float, float]

Line = Literal["solid", "dashed", "dotted"]

_ON = {"dashed": (4.0, 0.55), "dotted": (1.6, 0.5)}
"""Half the length of a piece and its gap, in line widths, and the share of it that is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One box to draw.

    Attributes:
        box: image pixels, x1 y1 x2 y2.
        text: its label; empty for none.
        colour: of the line and the label.
        line: how the outline is drawn.
    """

    box: Box
    text: str = ""
    colour: str = HIGHLIGHT
    line: Line = "solid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """An image within a page.

    Attributes:
        src: its ``data:`` URI.
        width: pixels.
        height: pixels.
    """

    src: str
    width: int
    height: int


def draw_detections(
    image: Image,
    detections: Detections,
    class_names: Sequence[str],
    *,
    threshold: float = 0.0,
    max_side: int = 0,
) -> PilImage.Image:
    """Return the image with its detections above a score drawn, each labelled with its score.

    Probabilities take the place of scores where there are any.

    Args:
        image: the image.
        detections: of that image.
        class_names: label -> name.
        threshold: the lowest score to draw; the papers' figures use 0.
        max_side: shrink a larger image to this longer side; 0 keeps its size.
    """
    marks = [
        Mark(box=box, text=f"{class_names[label]} {score:.2f}", colour=class_colour(label))
        for box, score, label in zip(
            as_boxes(detections.boxes),
            detections.confidences.tolist(),
            detections.labels.tolist(),
            strict=True,
        )
        if score >= threshold
    ]
    return draw_marks(image, marks, max_side=max_side)


def draw_truth(
    image: Image,
    truth: GroundTruth,
    class_names: Sequence[str],
    *,
    max_side: int = 0,
    colour: str | None = None,
) -> PilImage.Image:
    """Return the image with its annotated objects drawn; difficult ones are dotted.

    Args:
        image: the image.
        truth: its objects.
        class_names: label -> name.
        max_side: shrink a larger image to this longer side; 0 keeps its size.
        colour: of all objects; None gives each that of its class.
    """
    marks = [
        Mark(
            box=box,
            text=class_names[label] + (" (difficult)" if difficult else ""),
            colour=colour or class_colour(label),
            line="dotted" if difficult else "solid",
        )
        for box, label, difficult in zip(
            as_boxes(truth.boxes), truth.labels.tolist(), truth.difficult.tolist(), strict=True
        )
    ]
    return draw_marks(image, marks, max_side=max_side)


def as_boxes(boxes: Float[Tensor, "n 4"]) -> list[Box]:
    """Return a tensor of boxes as tuples."""
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in boxes.tolist()]


def draw_marks(image: Image, marks: Sequence[Mark], *, max_side: int = 0) -> PilImage.Image:
    """Return the image with boxes drawn, the first mark on top; labels avoid each other.

    Args:
        image: the image.
        marks: what to draw, most important first.
        max_side: shrink a larger image to this longer side; 0 keeps its size.
    """
    picture = PilImage.fromarray(image.pixels.numpy())
    scale = min(1.0, max_side / max(picture.size)) if max_side else 1.0
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((size[0], size[1]), PilImage.Resampling.LANCZOS)
    canvas = ImageDraw.Draw(picture)
    width = max(2, round(min(picture.size) / 170))
    scaled = [_scale(mark.box, scale) for mark in marks]
    for mark, box in reversed(list(zip(marks, scaled, strict=True))):
        _draw_box(canvas, box, mark, width)
    placed: list[Box] = []
    for mark, box in zip(marks, scaled, strict=True):
        if mark.text:
            _draw_label(canvas, box, mark, picture.size, placed)
    return picture


def _scale(box: Box, scale: float) -> Box:
    x1, y1, x2, y2 = (value * scale for value in box)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _draw_box(canvas: ImageDraw.ImageDraw, box: Box, mark: Mark, width: int) -> None:
    """Draw a rectangle with a thin dark rim, so that it shows on any background."""
    x1, y1, x2, y2 = box
    for shade, grow in (("#000000", 1), (mark.colour, 0)):
        edges = [(x1, y1, x2, y1), (x2, y1, x2, y2), (x2, y2, x1, y2), (x1, y2, x1, y1)]
        for edge in edges:
            for piece in _pieces(edge, mark.line, width):
                canvas.line(piece, fill=shade, width=width + 2 * grow)


def _pieces(edge: Box, line: Line, width: int) -> list[Box]:
    """Return the parts of an edge that are drawn."""
    if line == "solid":
        return [edge]
    length, share = _ON[line]
    x1, y1, x2, y2 = edge
    distance = abs(x2 - x1) + abs(y2 - y1)
    count = max(1, int(distance / (2 * length * width)))
    steps = [(n / count, (n + share) / count) for n in range(count)]
    return [
        (x1 + (x2 - x1) * a, y1 + (y2 - y1) * a, x1 + (x2 - x1) * b, y1 + (y2 - y1) * b)
        for a, b in steps
    ]


def _draw_label(
    canvas: ImageDraw.ImageDraw, box: Box, mark: Mark, size: tuple[int, int], placed: list[Box]
) -> None:
    """Write the text near the box's upper left corner, where no other label is yet."""
    text, path = legible(" ".join(mark.text.split())[:60])
    letters = font(path, max(11, min(40, round(max(size) / 36))))
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=letters)
    pad = max(2, round((bottom - top) * 0.25))
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x1, y1, x2, y2 = box
    corners = [(x1, y1 - height), (x1, y1), (x1, y2), (x2 - width, y1), (x1, y2 - height)]
    corners += [(x1, y1 + n * height) for n in range(1, 12)]
    places = [_inside(x, y, width, height, size) for x, y in corners]
    place = next((p for p in places if not any(_overlap(p, other) for other in placed)), places[0])
    placed.append(place)
    canvas.rectangle(place, fill=mark.colour)
    ink = ink_on(mark.colour)
    canvas.text((place[0] + pad - left, place[1] + pad - top), text, fill=ink, font=letters)


def _inside(x: float, y: float, width: float, height: float, size: tuple[int, int]) -> Box:
    x = min(max(x, 0.0), max(size[0] - width, 0.0))
    y = min(max(y, 0.0), max(size[1] - height, 0.0))
    return x, y, x + width, y + height


def _overlap(a: Box, b: Box) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def encode(picture: PilImage.Image, kind: str, *, quality: int = 82) -> bytes:
    """Return a drawing encoded as ``PNG`` or ``JPEG``."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        picture.convert("RGB").save(buffer, kind, quality=quality, optimize=True)
    else:
        picture.save(buffer, kind, optimize=True)
    return buffer.getvalue()


def data_uri(picture: PilImage.Image, kind: str = "JPEG", *, quality: int = 82) -> str:
    """Return a drawing as a ``data:`` URI to embed in an HTML file."""
    content = base64.b64encode(encode(picture, kind, quality=quality)).decode()
    return f"data:image/{kind.lower()};base64,{content}"


def embed(picture: PilImage.Image, kind: str = "JPEG") -> Embedded:
    """Return a drawing ready for an ``<img>``; with its size known, a page does not jump."""
    return Embedded(src=data_uri(picture, kind), width=picture.width, height=picture.height)
