"""Draw synthetic images: textured shapes on cluttered, textured backgrounds.

Each class has its own shape; its colour and texture are typical but not certain. Objects come
in sizes 1:8, stretched, turned, cut by the border and hidden by others.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.data.issues import Corners
from detection.values import Size

Field = NDArray[np.float32]
Pixels = NDArray[np.uint8]

SCENE_CLASSES = ("box", "cross", "disc", "triangle")
"""The classes, in alphabetical order."""

_HUES = {"box": 0.60, "cross": 0.80, "disc": 0.03, "triangle": 0.33}
_TYPICAL_COLOUR = 0.9
_TYPICAL_TEXTURE = 0.9
_MIN_VISIBLE = 0.15
_EASY_VISIBLE = 0.5
_HIDING = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneObject:
    """An object of a scene.

    Attributes:
        class_name: one of ``SCENE_CLASSES``.
        box: around its visible part, continuous pixels.
        visible: the fraction of its area that is neither hidden nor outside.
    """

    class_name: str
    box: Corners
    visible: float

    @property
    def difficult(self) -> bool:
        """More hidden than visible."""
        return self.visible < _EASY_VISIBLE


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Scene:
    """A drawn image, 8-bit RGB, and its objects."""

    pixels: Pixels
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placement:
    """Where a shape lies: centre and full sides in pixels, angle in radians."""

    x: float
    y: float
    width: float
    height: float
    angle: float

    def reach(self) -> tuple[float, float]:
        """Return half the width and height of the shape's axis-aligned bounding box."""
        cos, sin = abs(np.cos(self.angle)), abs(np.sin(self.angle))
        return (
            (self.width * cos + self.height * sin) / 2,
            (self.width * sin + self.height * cos) / 2,
        )


def draw_scene(
    rng: np.random.Generator,
    size: Size,
    *,
    num_objects: int,
    side_range: tuple[float, float] = (30.0, 240.0),
) -> Scene:
    """Draw one scene.

    Args:
        rng: decides everything.
        size: (height, width).
        num_objects: how many objects to place; those that end up hidden are not listed.
        side_range: the smallest and largest square root of an object's area.
    """
    canvas = _background(rng, size)
    for _ in range(rng.integers(2, 7)):
        _draw_clutter(canvas, rng, side=float(np.exp(rng.uniform(np.log(12), np.log(90)))))
    owners = np.full(size, -1, dtype=np.int32)
    placed: list[tuple[str, float]] = []
    boxes: list[_Placement] = []
    for number in range(num_objects):
        placement = _free_location(rng, size, boxes, side_range)
        boxes.append(placement)
        class_name = SCENE_CLASSES[rng.integers(len(SCENE_CLASSES))]
        placed.append(
            (class_name, _draw_object(canvas, owners, rng, class_name, placement, number))
        )
    for _ in range(rng.integers(0, 3)):
        _draw_bar(canvas, owners, rng)
    canvas += rng.normal(0, rng.uniform(2, 6), canvas.shape).astype(np.float32)
    objects = tuple(
        item
        for number, (class_name, whole) in enumerate(placed)
        if (item := _visible_object(owners == number, class_name, whole)) is not None
    )
    return Scene(pixels=canvas.clip(0, 255).astype(np.uint8), objects=objects)


def _visible_object(mask: NDArray[np.bool_], class_name: str, whole: float) -> SceneObject | None:
    visible = float(mask.sum()) / whole
    if visible < _MIN_VISIBLE:
        return None
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return SceneObject(class_name=class_name, box=box, visible=visible)


def _background(rng: np.random.Generator, size: Size) -> Field:
    """Draw muted clouds at three scales, sometimes with a horizon, sometimes with waves."""
    height, width = size
    canvas = np.full((height, width, 3), _colour(rng, rng.uniform(), 0.3), dtype=np.float32)
    if rng.uniform() < 0.5:
        horizon = int(height * rng.uniform(0.3, 0.7))
        canvas[horizon:] = _colour(rng, rng.uniform(), 0.3)
    for cells, strength in ((3, 22.0), (9, 12.0), (40, 7.0)):
        grid = rng.normal(0, strength, (cells, cells + 1, 3)).astype(np.float32)
        grid = 0.6 * grid.mean(axis=2, keepdims=True) * 1.7 + 0.4 * grid
        canvas += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.uniform() < 0.4:
        y, x = np.mgrid[:height, :width].astype(np.float32)
        angle, period = rng.uniform(0, np.pi), rng.uniform(6, 30)
        waves = np.sin((x * np.cos(angle) + y * np.sin(angle)) * np.float32(2 * np.pi / period))
        canvas += np.float32(rng.uniform(3, 12)) * waves[:, :, None]
    return canvas


def _colour(rng: np.random.Generator, hue: float, max_saturation: float) -> Field:
    """Draw a colour of a hue, 0..255."""
    saturation = rng.uniform(max_saturation * 0.5, max_saturation)
    rgb = colorsys.hsv_to_rgb(hue % 1.0, saturation, rng.uniform(0.35, 0.95))
    return np.array(rgb, dtype=np.float32) * 255


def _free_location(
    rng: np.random.Generator,
    size: Size,
    others: list[_Placement],
    side_range: tuple[float, float],
) -> _Placement:
    """Find a location that hides little of the other shapes; occasionally one that hides much."""
    height, width = size
    side = float(np.exp(rng.uniform(*np.log(side_range))))
    stretch = float(np.exp(rng.uniform(-0.5, 0.5)))
    side = min(side, 0.8 * min(width / stretch, height * stretch))
    angle = float(rng.normal(0, 0.15))
    hiding = bool(others) and rng.uniform() < _HIDING
    allowed = 0.3 if rng.uniform() < 0.2 else 0.03
    trials = []
    for _ in range(12):
        if hiding:
            other = others[rng.integers(len(others))]
            x, y = rng.normal((other.x, other.y), 0.3 * min(other.width, other.height))
            side = max(side_range[0], 0.9 * float(np.sqrt(other.width * other.height)))
        else:
            x, y = rng.uniform(0.08, 0.92, 2) * (width, height)
        placement = _Placement(
            x=float(x), y=float(y), width=side * stretch, height=side / stretch, angle=angle
        )
        overlap = (
            0.0 if hiding else max((_overlap(placement, other) for other in others), default=0.0)
        )
        overlap = max(overlap, _outside(placement, size))
        trials.append((overlap, placement))
        if overlap <= allowed:
            break
        side = max(side_range[0], 0.93 * side)
    return min(trials, key=lambda trial: trial[0])[1]


def _overlap(a: _Placement, b: _Placement) -> float:
    """Return the overlap of two shapes' bounding boxes over the smaller box's area."""
    (aw, ah), (bw, bh) = a.reach(), b.reach()
    wide = min(a.x + aw, b.x + bw) - max(a.x - aw, b.x - bw)
    high = min(a.y + ah, b.y + bh) - max(a.y - ah, b.y - bh)
    return max(wide, 0.0) * max(high, 0.0) / (4 * min(aw * ah, bw * bh))


def _outside(placement: _Placement, size: Size) -> float:
    """Return the fraction of a shape's bounding box that lies outside the image."""
    half_width, half_height = placement.reach()
    wide = min(placement.x + half_width, size[1]) - max(placement.x - half_width, 0)
    high = min(placement.y + half_height, size[0]) - max(placement.y - half_height, 0)
    return 1 - wide * high / (4 * half_width * half_height)


def _local(
    placement: _Placement, size: Size, margin: float = 2.0
) -> tuple[tuple[slice, slice], Field, Field]:
    """Return the pixels that a shape may cover and their coordinates, -1..1 inside the shape."""
    half_width, half_height = placement.reach()
    rows = slice(
        max(0, int(placement.y - half_height - margin)),
        max(0, int(placement.y + half_height + margin) + 1),
    )
    columns = slice(
        max(0, int(placement.x - half_width - margin)),
        max(0, int(placement.x + half_width + margin) + 1),
    )
    y, x = np.mgrid[
        rows.start : min(rows.stop, size[0]), columns.start : min(columns.stop, size[1])
    ]
    dx, dy = x.astype(np.float32) + 0.5 - placement.x, y.astype(np.float32) + 0.5 - placement.y
    cos, sin = np.float32(np.cos(placement.angle)), np.float32(np.sin(placement.angle))
    u = (dx * cos + dy * sin) / np.float32(placement.width / 2)
    v = (dy * cos - dx * sin) / np.float32(placement.height / 2)
    return (rows, columns), u, v


def _rectangle(u: Field, v: Field) -> Field:
    return np.maximum(np.abs(u), np.abs(v)) - 1


def _plus(u: Field, v: Field) -> Field:
    bars = np.minimum(np.abs(u), np.abs(v)) - np.float32(0.34)
    return np.maximum(bars, _rectangle(u, v))


def _ellipse(u: Field, v: Field) -> Field:
    return np.hypot(u, v) - 1


def _triangle(u: Field, v: Field) -> Field:
    return np.maximum(np.abs(u) - (v + 1) / 2, v - 1)


_DISTANCES: dict[str, Callable[[Field, Field], Field]] = {
    "box": _rectangle,
    "cross": _plus,
    "disc": _ellipse,
    "triangle": _triangle,
}


def _squares(u: Field, v: Field, frequency: float) -> Field:
    waves: Field = np.sin(frequency * np.pi * u) * np.sin(frequency * np.pi * v)
    return np.sign(waves)


def _stripes(u: Field, v: Field, frequency: float) -> Field:
    phase: Field = np.float32(frequency * np.pi * 1.3) * (u + v)
    return np.sin(phase)


def _rings(u: Field, v: Field, frequency: float) -> Field:
    phase: Field = np.float32(frequency * np.pi * 1.5) * np.hypot(u, v)
    return np.cos(phase)


def _dots(u: Field, v: Field, frequency: float) -> Field:
    turns = frequency * 1.5 * np.pi
    waves: Field = np.cos(turns * u) * np.cos(turns * v)
    return np.where(waves > 0.35, np.float32(1), np.float32(-1))


_TEXTURES: dict[str, Callable[[Field, Field, float], Field]] = {
    "box": _squares,
    "cross": _stripes,
    "disc": _rings,
    "triangle": _dots,
}


def _draw_object(
    canvas: Field,
    owners: NDArray[np.int32],
    rng: np.random.Generator,
    class_name: str,
    placement: _Placement,
    number: int,
) -> float:
    """Draw a shape, claim its pixels, and return its whole area, also outside the image."""
    size = (canvas.shape[0], canvas.shape[1])
    where, u, v = _local(placement, size)
    distance = _DISTANCES[class_name](u, v) * np.float32(min(placement.width, placement.height) / 2)
    cover = (0.5 - distance).clip(0, 1)
    typical = rng.uniform() < _TYPICAL_COLOUR
    hue = _HUES[class_name] + rng.normal(0, 0.03) if typical else rng.uniform()
    names = SCENE_CLASSES if rng.uniform() >= _TYPICAL_TEXTURE else (class_name,)
    texture = _TEXTURES[names[rng.integers(len(names))]](u, v, rng.uniform(1.5, 3.5))
    light = rng.normal(0, 0.12) * u + rng.normal(0, 0.12) * v
    shade = 1 + rng.uniform(0.06, 0.22) * texture + light
    colour = _colour(rng, float(hue), 0.95)
    paint = shade[:, :, None].astype(np.float32) * colour
    canvas[where] += cover[:, :, None] * (paint - canvas[where])
    owners[where][cover > 0.5] = number
    return (
        placement.width
        * placement.height
        * {"box": 1.0, "cross": 0.5644, "disc": 0.7854}.get(class_name, 0.5)
    )


def _draw_clutter(canvas: Field, rng: np.random.Generator, side: float) -> None:
    """Draw a lobed spot, of any colour, that is none of the classes."""
    size = (canvas.shape[0], canvas.shape[1])
    x, y = rng.uniform(0, size[1]), rng.uniform(0, size[0])
    stretch = float(np.exp(rng.uniform(-0.5, 0.5)))
    placement = _Placement(x=x, y=y, width=side * stretch, height=side / stretch, angle=0.0)
    where, u, v = _local(placement, size)
    around = np.arctan2(v, u)
    lobes = sum(
        rng.uniform(0.1, 0.3) * np.cos(k * around + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    distance = (np.hypot(u, v) - 0.6 * (1 + lobes)) * np.float32(side / 2)
    cover = (0.5 - distance).clip(0, 1) * np.float32(rng.uniform(0.6, 1.0))
    paint = _colour(rng, rng.uniform(), rng.uniform(0.1, 0.8))
    canvas[where] += cover[:, :, None] * (paint - canvas[where])


def _draw_bar(canvas: Field, owners: NDArray[np.int32], rng: np.random.Generator) -> None:
    """Draw a thin line across the scene, in front of everything."""
    height, width = owners.shape
    ends = rng.uniform(0, 1, 4) * [width, height, width, height]
    mask = np.zeros((height, width), dtype=np.uint8)
    x1, y1, x2, y2 = (int(end) for end in ends)
    cv2.line(mask, (x1, y1), (x2, y2), 255, int(rng.integers(2, 7)), cv2.LINE_AA)
    cover = mask[:, :, None].astype(np.float32) / 255
    canvas += cover * (_colour(rng, rng.uniform(), 0.5) - canvas)
    owners[mask > 127] = -1
