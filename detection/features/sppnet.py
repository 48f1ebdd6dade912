"""SPPnet: the conv layers once per image, then one pooled vector per box."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from detection.backbones.backbone import Backbone
from detection.config import FeatureConfig
from detection.features.power import power_normalize
from detection.features.projection import project_boxes
from detection.features.pyramid import pyramid_pool
from detection.features.scale import choose_scale, resized_size
from detection.features.trunk import ConvTrunk
from detection.structures import FeatureMap, Image, RoIFeatures


class SppExtractor:
    """Pyramid-pooled conv5 features of the whole image (SPP §4.1).

    Attributes:
        backbone: as given, moved to the configured device.
        config: as given.
        device: where features are computed, and where they stay.
        dtype: precision of the conv layers.
        trainable: the conv layers that are trained; empty without.
        feature_dim: channels times bins of the pyramid.
        channels: of conv5.
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
        self.channels = backbone.channels
        self.num_scales = len(config.scales)
        self.feature_dim = backbone.channels * sum(n * n for n in config.levels)

    @staticmethod
    def describe(config: FeatureConfig) -> str:
        """Say in a few words what a vector is made of."""
        scales, levels = (", ".join(map(str, sizes)) for sizes in (config.scales, config.levels))
        return f"scales {scales}; pyramid {levels}"

    def encode_image(self, image: Image) -> tuple[FeatureMap, ...]:
        """Compute conv5 of the whole image, one map per scale."""
        return self._each_scale(image, self.conv)

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
        """Compute what the first trainable layer reads, one map per scale; conv5 without one."""
        return self._each_scale(image, lambda inputs: self.network.run_frozen(inputs[None])[0])

    def run_trainable(self, maps: Sequence[FeatureMap]) -> tuple[FeatureMap, ...]:
        """Compute conv5, with gradients where layers are trainable."""
        return tuple(replace(m, values=self.network.run_trainable(m.values[None])[0]) for m in maps)

    def pretrained_fc(self) -> nn.Module | None:
        """Return the fc6 and fc7 that came with the weights, if they read this pyramid."""
        return self.network.pretrained_fc(self.feature_dim)

    def with_fewer_scales(self) -> SppExtractor | None:
        """Return the same extractor without its largest scale."""
        if self.num_scales == 1:
            return None
        largest = max(self.config.scales)
        fewer = copy.copy(self)
        fewer.config = replace(
            self.config, scales=tuple(s for s in self.config.scales if s != largest)
        )
        fewer.num_scales = len(fewer.config.scales)
        return fewer

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

    def conv(self, inputs: Float[Tensor, "3 h w"]) -> Float[Tensor, "c rows columns"]:
        """Return conv5 of one normalised image."""
        return self.network.conv(inputs[None])[0]

    def project(
        self,
        maps: Sequence[FeatureMap],
        boxes: Float[Tensor, "r 4"],
        scale: Int[Tensor, " r"] | None = None,
    ) -> tuple[Int[Tensor, "u 5"], Int[Tensor, " r"]]:
        """Return the distinct windows (scale index, x1, y1, x2, y2), ascending, and box -> row."""
        boxes = boxes.to(self.device)
        if scale is None:
            scale = choose_scale(
                boxes, maps[0].image_size, self.config.scales, self.config.scale_rule
            )
        scale = scale.to(boxes.device)
        windows = self._project_all(maps[0], boxes)
        for index, feature_map in enumerate(maps[1:], start=1):
            # all boxes, then a choice: picking those of a scale first would make a GPU wait
            here = (scale == index)[:, None]
            windows = torch.where(here, self._project_all(feature_map, boxes), windows)
        return distinct_windows(scale, windows, max(max(m.values.shape[1:]) for m in maps))

    def _project_all(
        self, feature_map: FeatureMap, boxes: Float[Tensor, "r 4"]
    ) -> Int[Tensor, "r 4"]:
        return project_boxes(
            boxes,
            feature_map.image_size,
            feature_map.input_size,
            feature_map.geometry,
            (int(feature_map.values.shape[1]), int(feature_map.values.shape[2])),
            self.config.projection,
        )

    def pool_windows(
        self, maps: Sequence[FeatureMap], windows: Int[Tensor, "u 5"]
    ) -> Float[Tensor, "u d"]:
        """Pool each window (scale index, x1, y1, x2, y2; ascending in scale) on its map."""
        if len(maps) == 1:
            return pyramid_pool(maps[0].values, windows[:, 1:], self.config.levels)
        # on a GPU the host waits for the number of windows of each scale: they size the parts
        parts = [
            pyramid_pool(
                feature_map.values, windows[windows[:, 0] == index, 1:], self.config.levels
            )
            for index, feature_map in enumerate(maps)
        ]
        return torch.cat(parts)

    def _each_scale(
        self, image: Image, layers: Callable[[Float[Tensor, "3 h w"]], Float[Tensor, "c y x"]]
    ) -> tuple[FeatureMap, ...]:
        return tuple(
            FeatureMap(
                values=layers(inputs),
                image_size=image.size,
                input_size=(int(inputs.shape[1]), int(inputs.shape[2])),
                geometry=self.backbone.geometry,
            )
            for inputs in self.resize(image)
        )


def distinct_windows(
    scale: Int[Tensor, " r"], windows: Int[Tensor, "r 4"], longest: int
) -> tuple[Int[Tensor, "u 5"], Int[Tensor, " r"]]:
    """Return the distinct (scale, window) pairs in ascending order, and the pair of each box.

    On a GPU the host waits for their number: it sizes every layer that follows, and a quarter of
    the boxes share a window.

    Args:
        scale: index of the scale of each box.
        windows: cells of the map of that scale.
        longest: side of the largest map.
    """
    base = longest + 1
    keys = scale
    for column in windows.unbind(dim=1):
        keys = keys * base + column
    keys, rows = torch.unique(keys, return_inverse=True)
    columns = [keys]
    for _ in range(4):
        columns = [columns[0] // base, columns[0] % base, *columns[1:]]
    return torch.stack(columns, dim=1), rows
