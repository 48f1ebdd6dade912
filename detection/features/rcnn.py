"""R-CNN: the whole network once per box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from detection.backbones.backbone import Backbone
from detection.config import FeatureConfig
from detection.errors import require
from detection.features.power import power_normalize
from detection.features.trunk import ConvTrunk
from detection.features.warp import warp_boxes
from detection.io.device import is_host
from detection.structures import ConvGeometry, FeatureMap, Image, RoIFeatures

_CPU_BATCH, _GPU_BATCH = 32, 256
_PIXELS = ConvGeometry(stride=1, offset=0.0)


class RcnnExtractor:
    """pool5 of each warped crop (RC §2.1-2.2).

    Attributes:
        backbone: as given, moved to the configured device.
        config: as given.
        device: where features are computed, and where they stay.
        dtype: precision of the conv layers.
        crop_size: side of the crops, pixels.
        trainable: the conv layers that are trained; empty without.
        feature_dim: channels x grid x grid; with ``features.maps``, channels x bins of the pyramid.
        num_scales: 1, the size of the image.
    """

    stages: Mapping[str, str] = {"encode_image": "warp", "warp": "warp", "conv": "conv"}

    def __init__(self, backbone: Backbone, config: FeatureConfig, num_trainable: int = 0) -> None:
        self.crop_size = config.crop_size or backbone.crop_size
        room = (self.crop_size - 1) // 2
        expected = f"at most {room} pixels on the crops of {backbone.name}"
        require(config.context <= room, "features.context", expected, config.context)
        self.backbone = backbone
        self.config = config
        self.network = ConvTrunk(backbone, config, num_trainable)
        self.device, self.dtype = self.network.device, self.network.dtype
        self.trainable: nn.Module = self.network.trainable
        self.num_scales = 1
        bins = sum(n * n for n in config.levels) if config.maps else backbone.grid**2
        self.feature_dim = sum(self.network.channels) * bins
        if self.crop_size != backbone.crop_size:
            self._check_crop_size()
        default = _CPU_BATCH if is_host(self.device) else _GPU_BATCH
        self.batch_size = config.batch_size or default

    def _check_crop_size(self) -> None:
        """Raise ConfigError where pool5 of such a crop is not the one that fc6 reads."""
        side = self.crop_size
        try:
            length = self.conv(torch.zeros(1, 3, side, side, device=self.device)).shape[1]
        except RuntimeError:  # no cell is left
            length = 0
        expected = f"0 or a side that {self.backbone.name} pools to {self.feature_dim:,} values"
        require(length == self.feature_dim, "features.crop_size", expected, side)

    @staticmethod
    def describe(config: FeatureConfig) -> str:
        """Say in a few words what a vector is made of."""
        return f"{config.warp}ed crops, {config.context} px of context"

    def encode_image(self, image: Image) -> tuple[FeatureMap, ...]:
        """Return the normalised image itself, as a map of stride 1."""
        pixels = self.network.normalise(self.network.upload(image)[None])[0]
        return (
            FeatureMap(
                values=pixels, image_size=image.size, input_size=image.size, geometry=_PIXELS
            ),
        )

    def pool(
        self,
        maps: Sequence[FeatureMap],
        boxes: Float[Tensor, "r 4"],
        scale: Int[Tensor, " r"] | None = None,
    ) -> RoIFeatures:
        """Return one vector per box, computed in batches of crops; equal boxes share one."""
        boxes, rows = torch.unique(boxes.to(self.device), dim=0, return_inverse=True)
        parts = [self.conv(self.warp(maps, part)) for part in torch.split(boxes, self.batch_size)]
        return RoIFeatures(values=power_normalize(torch.cat(parts), self.config.power), rows=rows)

    def extract(self, image: Image, boxes: Float[Tensor, "r 4"]) -> RoIFeatures:
        """Return one vector per box; equal boxes share one."""
        return self.pool(self.encode_image(image), boxes)

    def unfreeze(self, count: int) -> RcnnExtractor:
        """Return an extractor that trains its last ``count`` conv layers; -1 for all (RC §2.3)."""
        return RcnnExtractor(self.backbone.with_own_trunk(), self.config, count)

    def with_scales(self, scales: Sequence[int]) -> RcnnExtractor:
        """Return the extractor itself: a crop has one size."""
        return self

    def at_scale(self, index: int) -> RcnnExtractor:
        """Return the extractor itself: a crop has one size."""
        return self

    def run_frozen(self, image: Image) -> tuple[FeatureMap, ...]:
        """Return the normalised image: every layer comes after the crop."""
        return self.encode_image(image)

    def run_trainable(self, maps: Sequence[FeatureMap]) -> tuple[FeatureMap, ...]:
        """Return the image in float32; `pool` runs the trainable layers."""
        return tuple(replace(m, values=m.values.float()) for m in maps)

    def pretrained_fc(self) -> nn.Module | None:
        """Return the fc6 and fc7 that came with the weights, if they read this pool5."""
        return self.network.pretrained_fc(self.feature_dim)

    def with_fewer_scales(self) -> None:
        """Return None: a crop has one size."""

    def warp(
        self, maps: Sequence[FeatureMap], boxes: Float[Tensor, "r 4"]
    ) -> Float[Tensor, "r 3 s s"]:
        """Return the warped crop of each box."""
        return warp_boxes(
            maps[0].values,
            boxes.to(self.device),
            self.crop_size,
            self.config.context,
            self.config.warp,
        )

    def conv(self, crops: Float[Tensor, "r 3 s s"]) -> Float[Tensor, "r d"]:
        """Return pool5 of each crop: the conv layers and the network's own last pool.

        Maps that are named in the configuration are pooled as SPPnet pools them, the crop being the
        window: both methods then have vectors of the same layers, bins and length.
        """
        if len(crops) == 0:
            return torch.zeros(0, self.feature_dim, device=self.device)
        maps = self.network.conv(crops)
        if not self.config.maps:
            pool5: Tensor = self.backbone.last_pool(maps[0])
            return pool5.flatten(1).float()
        factors = self.config.map_scales or (1.0,) * len(maps)
        parts = [
            functional.adaptive_max_pool2d(values.float(), level).flatten(1) * factor
            for values, factor in zip(maps, factors, strict=True)
            for level in self.config.levels
        ]
        return torch.cat(parts, dim=1)
