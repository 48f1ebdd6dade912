"""SPPnet: the conv layers once per image, then one pooled vector per box."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor, nn
from torch.nn import functional

from detection.backbones.backbone import Backbone
from detection.config import FeatureConfig
from detection.features.power import power_normalize
from detection.features.projection import project_boxes
from detection.features.pyramid import pyramid_pool
from detection.features.roi_align import align_boxes, align_pool
from detection.features.scale import choose_scale, resized_size
from detection.features.trunk import ConvTrunk
from detection.structures import FeatureMap, Image, RoIFeatures, Size


class SppExtractor:
    """Pyramid-pooled conv5 features of the whole image (SPP §4.1).

    Where ``features.maps`` names several maps of the trunk, every box is projected onto each of
    them, each in its own geometry, and the pooled vectors lie side by side. Maps are passed around
    as a flat sequence: all maps of the first scale, then those of the second.

    Attributes:
        backbone: as given, moved to the configured device.
        config: as given.
        device: where features are computed, and where they stay.
        dtype: precision of the conv layers.
        trainable: the conv layers that are trained; empty without.
        feature_dim: channels times bins of the pyramid.
        num_maps: at each scale.
        num_scales: sizes of the resized image.
    """

    stages: Mapping[str, str] = {
        "resize": "resize",
        "conv": "conv",
        "project": "projection",
        "pool_windows": "pooling",
    }

    def __init__(self, backbone: Backbone, config: FeatureConfig, num_trainable: int = 0) -> None:
        self.backbone = backbone
        self.config = config
        self.network = ConvTrunk(backbone, config, num_trainable)
        self.device, self.dtype = self.network.device, self.network.dtype
        self.trainable: nn.Module = self.network.trainable
        self.num_maps = len(self.network.channels)
        self.num_scales = len(config.scales)
        # maps whose cells lie in the same places share their windows: a stride of 16 and 16, say
        distinct = list(dict.fromkeys(self.network.geometries))
        self._windows_of = [distinct.index(geometry) for geometry in self.network.geometries]
        self._own = [self._windows_of.index(number) for number in range(len(distinct))]
        self.feature_dim = sum(self.network.channels) * sum(n * n for n in config.levels)

    @staticmethod
    def describe(config: FeatureConfig) -> str:
        """Say in a few words what a vector is made of."""
        scales, levels = (", ".join(map(str, sizes)) for sizes in (config.scales, config.levels))
        aligned = ", aligned" if config.pooling == "align" else ""
        return f"scales {scales}; pyramid {levels}{aligned}"

    def encode_image(self, image: Image) -> tuple[FeatureMap, ...]:
        """Compute conv5 of the whole image, one map per scale; or the maps that are configured."""
        return tuple(m for inputs in self.resize(image) for m in self._mapped(image, inputs))

    def pool(
        self,
        maps: Sequence[FeatureMap],
        boxes: Float[Tensor, "r 4"],
        scale: Int[Tensor, " r"] | None = None,
    ) -> RoIFeatures:
        """Return one vector per box; boxes that cover the same cells share one."""
        windows, rows = self.project(maps, boxes, scale)
        values = power_normalize(self.pool_windows(maps, windows), self.config.power)
        return RoIFeatures(values=values, rows=rows)

    def extract(self, image: Image, boxes: Float[Tensor, "r 4"]) -> RoIFeatures:
        """Return one vector per box; boxes that cover the same cells share one."""
        return self.pool(self.encode_image(image), boxes)

    def unfreeze(self, count: int) -> SppExtractor:
        """Return an extractor that trains its last ``count`` conv layers; -1: none (SPP §4.1)."""
        return SppExtractor(self.backbone.with_own_trunk(), self.config, max(count, 0))

    def run_frozen(self, image: Image) -> tuple[FeatureMap, ...]:
        """Compute what the trainable layers read, at each scale; conv5 without such layers."""
        return tuple(
            self._feature_map(image.size, inputs, values[0], 0)
            for inputs in self.resize(image)
            for values in self.network.run_frozen(inputs[None])
        )

    def run_trainable(self, maps: Sequence[FeatureMap]) -> tuple[FeatureMap, ...]:
        """Compute conv5, with gradients where layers are trainable."""
        per_scale = self.network.num_frozen
        out: list[FeatureMap] = []
        for start in range(0, len(maps), per_scale):
            frozen = maps[start : start + per_scale]
            computed = self.network.run_trainable([m.values[None] for m in frozen])
            out += [
                replace(frozen[0], values=values[0], geometry=geometry)
                for values, geometry in zip(computed, self.network.geometries, strict=True)
            ]
        return tuple(out)

    def at_scale(self, index: int) -> SppExtractor:
        """Return the same extractor with one of its scales."""
        return self.with_scales((self.config.scales[index],))

    def pretrained_fc(self) -> nn.Module | None:
        """Return the fc6 and fc7 that came with the weights, if they read this pyramid."""
        return self.network.pretrained_fc(self.feature_dim)

    def with_fewer_scales(self) -> SppExtractor | None:
        """Return the same extractor without its largest scale."""
        if self.num_scales == 1:
            return None
        largest = max(self.config.scales)
        return self.with_scales(tuple(s for s in self.config.scales if s != largest))

    def with_scales(self, scales: Sequence[int]) -> SppExtractor:
        """Return the same extractor with other short sides."""
        other = copy.copy(self)
        other.config = replace(self.config, scales=tuple(scales))
        other.num_scales = len(scales)
        return other

    def resize(self, image: Image) -> list[Float[Tensor, "3 h w"]]:
        """Return the normalised image at each scale, resized bilinearly without antialiasing.

        Both steps are linear, so that their order does not matter: the smaller image is normalised.
        """
        pixels = self.network.normalise(self.network.upload(image)[None])
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        longest, smallest = self.config.max_long_side, self.backbone.min_size
        sizes = [
            resized_size(image.size, s, longest, min_size=smallest) for s in self.config.scales
        ]
        return [
            functional.interpolate(pixels, size, mode="bilinear", align_corners=False)[0]
            for size in sizes
        ]

    def conv(self, inputs: Float[Tensor, "3 h w"]) -> list[Float[Tensor, "_ _ _"]]:
        """Return the maps of one normalised image."""
        return [values[0] for values in self.network.conv(inputs[None])]

    def project(
        self,
        maps: Sequence[FeatureMap],
        boxes: Float[Tensor, "r 4"],
        scale: Int[Tensor, " r"] | None = None,
    ) -> tuple[Real[Tensor, "u w"], Int[Tensor, " r"]]:
        """Return the distinct windows, ascending, and the row of each box.

        A row is (scale index, x1, y1, x2, y2), with four columns for each map whose cells lie
        elsewhere. Whole cells, or fractions of them where ``features.pooling`` is ``align``.
        """
        boxes = boxes.to(self.device)
        if scale is None:
            scale = choose_scale(
                boxes, maps[0].image_size, self.config.scales, self.config.scale_rule
            )
        scale = scale.to(boxes.device)
        windows = [self._project_onto(maps[i :: self.num_maps], boxes, scale) for i in self._own]
        longest = max(max(m.values.shape[1:]) for m in maps)
        return distinct_windows(scale, torch.cat(windows, dim=1), longest)

    def _project_onto(
        self, maps: Sequence[FeatureMap], boxes: Float[Tensor, "r 4"], scale: Int[Tensor, " r"]
    ) -> Real[Tensor, "r 4"]:
        """Return the window of each box on the map of its scale."""
        windows = self._project_all(maps[0], boxes)
        for index, feature_map in enumerate(maps[1:], start=1):
            # all boxes, then a choice: picking those of a scale first would make a GPU wait
            here = (scale == index)[:, None]
            windows = torch.where(here, self._project_all(feature_map, boxes), windows)
        return windows

    def _project_all(
        self, feature_map: FeatureMap, boxes: Float[Tensor, "r 4"]
    ) -> Real[Tensor, "r 4"]:
        where = (
            feature_map.image_size,
            feature_map.input_size,
            feature_map.geometry,
            (int(feature_map.values.shape[1]), int(feature_map.values.shape[2])),
        )
        if self.config.pooling == "align":
            return align_boxes(boxes, *where)
        return project_boxes(boxes, *where, self.config.projection)

    def pool_windows(
        self, maps: Sequence[FeatureMap], windows: Real[Tensor, "u w"]
    ) -> Float[Tensor, "u d"]:
        """Pool the windows of `project` on their maps; those of several maps lie side by side."""
        parts = []
        for number in range(self.num_maps):
            column = 1 + 4 * self._windows_of[number]
            own = torch.cat((windows[:, :1], windows[:, column : column + 4]), dim=1)
            pooled = self._pool_map(maps[number :: self.num_maps], own)
            factor = self.config.map_scales[number] if self.config.map_scales else 1.0
            parts.append(pooled if factor == 1.0 else pooled * factor)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _pool_map(
        self, maps: Sequence[FeatureMap], windows: Real[Tensor, "u 5"]
    ) -> Float[Tensor, "u d"]:
        """Pool each window (scale index, x1, y1, x2, y2; ascending in scale) on its map."""
        pool = align_pool if self.config.pooling == "align" else pyramid_pool
        if len(maps) == 1:
            return pool(maps[0].values, windows[:, 1:], self.config.levels)
        # on a GPU the host waits for the number of windows of each scale: they size the parts
        parts = [
            pool(feature_map.values, windows[windows[:, 0] == index, 1:], self.config.levels)
            for index, feature_map in enumerate(maps)
        ]
        return torch.cat(parts)

    def _mapped(self, image: Image, inputs: Float[Tensor, "3 h w"]) -> list[FeatureMap]:
        """Return the maps of one scale."""
        return [
            self._feature_map(image.size, inputs, values, index)
            for index, values in enumerate(self.conv(inputs))
        ]

    def _feature_map(
        self, size: Size, inputs: Float[Tensor, "3 h w"], values: Float[Tensor, "c y x"], index: int
    ) -> FeatureMap:
        return FeatureMap(
            values=values,
            image_size=size,
            input_size=(int(inputs.shape[1]), int(inputs.shape[2])),
            geometry=self.network.geometries[index],
        )


def distinct_windows(
    scale: Int[Tensor, " r"], windows: Real[Tensor, "r w"], longest: int
) -> tuple[Real[Tensor, "u v"], Int[Tensor, " r"]]:
    """Return the distinct (scale, windows) rows in ascending order, and the row of each box.

    On a GPU the host waits for their number: it sizes every layer that follows, and a quarter of
    the boxes share a window.

    Args:
        scale: index of the scale of each box.
        windows: cells of the maps of that scale, four columns a map; whole or not.
        longest: side of the largest map.
    """
    base, count = longest + 1, windows.shape[1]
    # Scales are fewer than 32, as the configuration makes sure: one number holds a short row.
    if windows.is_floating_point() or 5 + count * math.log2(base) >= 63:
        rows = torch.cat((scale[:, None], windows), dim=1)
        distinct, index = torch.unique(rows, dim=0, return_inverse=True)
        return distinct, index
    keys = scale
    for column in windows.unbind(dim=1):
        keys = keys * base + column
    keys, index = torch.unique(keys, return_inverse=True)
    columns = [keys]
    for _ in range(count):
        columns = [columns[0] // base, columns[0] % base, *columns[1:]]
    return torch.stack(columns, dim=1), index
