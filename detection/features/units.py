"""The units of pool5, each one number of the vector: its channel and bin, and what it sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection import boxes as box_algebra
from detection.errors import ConfigError
from detection.features.extractor import FeatureExtractor
from detection.features.rcnn import RcnnExtractor
from detection.features.scale import choose_scale, resized_size
from detection.features.trunk import map_layout
from detection.structures import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """One bin of the pyramid, or one cell of R-CNN's pool5.

    Attributes:
        level: the grid's side.
        row: of the bin, from 0.
        column: likewise.
    """

    level: int
    row: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitLayout:
    """Where in a pool5 vector which channel and bin is.

    Attributes:
        channels: of each map.
        levels: sides of the grids, in order.
    """

    channels: tuple[int, ...]
    levels: tuple[int, ...]

    @property
    def coarsest(self) -> Bin:
        """The bin in the middle of the coarsest grid, which sees most of a box."""
        level = min(self.levels)
        middle = (level - 1) // 2
        return Bin(level=level, row=middle, column=middle)

    def units(self, where: Bin) -> Int[Tensor, " c"]:
        """Return the places of a bin's units in the vector: all channels of all maps, in order.

        Raises:
            ConfigError: for a bin that no level has.
        """
        sides = range(where.level)
        if where.level not in self.levels or not {where.row, where.column} <= set(sides):
            grids = ", ".join(f"{level} x {level}" for level in self.levels)
            message = (
                f"bin: expected level, row and column of one of the grids {grids}, from 0, got "
                f"{where.level}, {where.row}, {where.column}"
            )
            raise ConfigError(message)
        parts, start = [], 0
        for count in self.channels:
            for level in self.levels:
                if level == where.level:
                    first = start + where.row * level + where.column
                    parts.append(first + torch.arange(count) * level**2)
                start += count * level**2
        return torch.cat(parts)


def unit_layout(extractor: FeatureExtractor) -> UnitLayout:
    """Return where the units of an extractor's vectors are: each level channel, row, column."""
    config, backbone = extractor.config, extractor.backbone
    own_pool = isinstance(extractor, RcnnExtractor) and not config.maps
    channels = map_layout(backbone, config.maps)[1]
    return UnitLayout(channels=channels, levels=(backbone.grid,) if own_pool else config.levels)


def columns_of_maps(extractor: FeatureExtractor) -> tuple[int, ...]:
    """Return how many numbers of a pool5 vector come from each map; none where there is one map."""
    layout = unit_layout(extractor)
    bins = sum(level**2 for level in layout.levels)
    channels = layout.channels
    return tuple(count * bins for count in channels) if len(channels) > 1 else ()


def input_scale(
    extractor: FeatureExtractor, size: Size, boxes: Float[Tensor, "r 4"]
) -> Float[Tensor, "r 2"]:
    """Return how many pixels of the network's input a pixel of the image becomes, along x and y.

    Args:
        extractor: of either method.
        size: (height, width) of the image.
        boxes: image pixels; the method chooses by them.
    """
    config = extractor.config
    if isinstance(extractor, RcnnExtractor):
        sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1.0)
        if config.warp == "square":
            sides = sides.amax(dim=1, keepdim=True).expand(-1, 2)
        return (extractor.crop_size - 2 * config.context) / sides
    chosen = choose_scale(boxes, size, config.scales, config.scale_rule)
    resized = [
        resized_size(size, side, config.max_long_side, min_size=extractor.backbone.min_size)
        for side in config.scales
    ]
    factors = boxes.new_tensor([[width / size[1], height / size[0]] for height, width in resized])
    return factors[chosen]


def fields(
    extractor: FeatureExtractor, size: Size, boxes: Float[Tensor, "r 4"], where: Bin, cell: int
) -> Float[Tensor, "r 4"]:
    """Return what of the image a bin of each box sees, image pixels.

    The bin's part of the box, and around it half of what a cell of the last map sees: whole cells,
    which the methods round differently, are not followed.

    Args:
        extractor: of either method.
        size: (height, width) of the image.
        boxes: image pixels.
        where: which bin.
        cell: side of what one cell sees, input pixels, see `field_side`.
    """
    corners, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    place = boxes.new_tensor([where.column, where.row])
    first = corners + sides * place / where.level
    last = corners + sides * (place + 1) / where.level
    around = cell / 2 / input_scale(extractor, size, boxes)
    return box_algebra.clip(torch.cat((first - around, last + around), dim=1), size)
