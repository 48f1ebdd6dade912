"""The figure that explains spatial pyramid pooling on one of the user's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from PIL import Image as PilImage
from PIL import ImageDraw

from detection.features.projection import ProjectionRule, project_boxes
from detection.report.drawing import Box, Mark, draw_marks
from detection.report.palette import HIGHLIGHT
from detection.structures import FeatureMap, Image

Window = tuple[int, int, int, int]
CELLS_COLOUR = "#ffffff"


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class LevelPicture:
    """One level of the pyramid.

    Attributes:
        level: n of its n x n bins.
        cells: the window's cells with the outlines of the bins, a ring on each bin's maximum.
        maxima: those maxima, n x n.
    """

    level: int
    cells: PilImage.Image
    maxima: PilImage.Image


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class SppFigure:
    """The steps from an image to a vector of fixed length.

    Attributes:
        image: with the box.
        feature_map: the mean of all channels, with the window.
        levels: of the channel that answers most strongly, on average, inside the window.
        window: the half-open range of cells x1 y1 x2 y2.
        map_size: (rows, columns).
        input_size: (height, width) of the resized image.
        stride: input pixels per cell.
        channels: of the map.
        channel: which one the levels show.
        length: of the vector.
    """

    image: PilImage.Image
    feature_map: PilImage.Image
    levels: tuple[LevelPicture, ...]
    window: Window
    map_size: tuple[int, int]
    input_size: tuple[int, int]
    stride: int
    channels: int
    channel: int
    length: int


def explain_spp(
    image: Image,
    feature_map: FeatureMap,
    box: Box,
    *,
    levels: Sequence[int] = (1, 2, 3, 6),
    rule: ProjectionRule = "paper",
    text: str = "",
    width: int = 420,
) -> SppFigure:
    """Draw how a box becomes a window of cells, and the window a vector.

    Args:
        image: the image.
        feature_map: its conv map, at the scale that suits the box.
        box: image pixels.
        levels: of the pyramid.
        rule: of the projection.
        text: written at the box.
        width: of the larger images, in pixels.
    """
    values = feature_map.values.detach().float().cpu().numpy()
    window = window_of(feature_map, box, rule)
    x1, y1, x2, y2 = window
    inside = values[:, y1:y2, x1:x2]
    channel = int(inside.mean(axis=(1, 2)).argmax())
    map_picture = heat(values.mean(axis=0), width)
    _outline(map_picture, window, width / values.shape[2], HIGHLIGHT, 3)
    return SppFigure(
        image=draw_marks(image, [Mark(box=box, text=text, colour=HIGHLIGHT)], max_side=2 * width),
        feature_map=map_picture,
        levels=tuple(draw_level(inside[channel], level, width) for level in levels),
        window=window,
        map_size=(values.shape[1], values.shape[2]),
        input_size=feature_map.input_size,
        stride=feature_map.geometry.stride,
        channels=len(values),
        channel=channel,
        length=len(values) * sum(level * level for level in levels),
    )


def window_of(feature_map: FeatureMap, box: Box, rule: ProjectionRule) -> Window:
    """Return the cells that a box covers."""
    values = feature_map.values
    windows = project_boxes(
        values.new_tensor([box]).float(),
        feature_map.image_size,
        feature_map.input_size,
        feature_map.geometry,
        (int(values.shape[1]), int(values.shape[2])),
        rule,
    )
    x1, y1, x2, y2 = windows[0].tolist()
    return x1, y1, x2, y2


def bins(length: int, level: int) -> list[tuple[int, int]]:
    """Return the half-open ranges of the n bins along one axis of a window (SPP Appendix A)."""
    return [(i * length // level, -(-(i + 1) * length // level)) for i in range(level)]


def draw_level(cells: Float[np.ndarray, "h w"], level: int, width: int) -> LevelPicture:
    """Draw the cells of one channel inside a window, cut into n x n bins, and the maxima."""
    top = float(cells.max()) or 1.0
    picture = heat(cells, width, top=top, square=True)
    canvas = ImageDraw.Draw(picture)
    step_x, step_y = picture.width / cells.shape[1], picture.height / cells.shape[0]
    maxima = np.zeros((level, level))
    radius = max(5.0, min(step_x, step_y, 30) / 4)
    for row, (y1, y2) in enumerate(bins(cells.shape[0], level)):
        for column, (x1, x2) in enumerate(bins(cells.shape[1], level)):
            part = cells[y1:y2, x1:x2]
            maxima[row, column] = part.max()
            # Overlapping bins stay visible: each is drawn a little inside its bounds.
            frame = (x1 * step_x + 1, y1 * step_y + 1, x2 * step_x - 2, y2 * step_y - 2)
            canvas.rectangle(frame, outline=CELLS_COLOUR, width=2)
            y, x = np.unravel_index(int(part.argmax()), part.shape)
            cx, cy = (x1 + int(x) + 0.5) * step_x, (y1 + int(y) + 0.5) * step_y
            ring = (cx - radius, cy - radius, cx + radius, cy + radius)
            canvas.ellipse(ring, outline="#000000", fill=HIGHLIGHT, width=2)
    return LevelPicture(
        level=level, cells=picture, maxima=heat(maxima, width, top=top, square=True)
    )


def heat(
    values: Float[np.ndarray, "h w"], width: int, *, top: float = 0.0, square: bool = False
) -> PilImage.Image:
    """Return a heat map of numbers, dark to bright, one rectangle per cell.

    Args:
        values: not negative.
        width: of the image, in pixels.
        top: the brightest value; 0 takes the largest that occurs.
        square: as high as it is wide, whatever the number of rows.
    """
    top = top or float(values.max()) or 1.0
    colours = mpl.colormaps["viridis"](np.clip(values / top, 0, 1), bytes=True)[:, :, :3]
    height = width if square else max(1, round(width * values.shape[0] / values.shape[1]))
    picture = PilImage.fromarray(np.ascontiguousarray(colours))
    return picture.resize((width, height), PilImage.Resampling.NEAREST)


def _outline(picture: PilImage.Image, window: Window, step: float, colour: str, width: int) -> None:
    x1, y1, x2, y2 = (value * step for value in window)
    canvas = ImageDraw.Draw(picture)
    canvas.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline="#000000", width=width + 2)
    canvas.rectangle((x1, y1, x2, y2), outline=colour, width=width)
