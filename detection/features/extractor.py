"""The one step in which R-CNN and SPPnet differ, as a protocol: at test time, and in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from detection.backbones.backbone import Backbone
from detection.config import FeatureConfig
from detection.structures import FeatureMap, Image, RoIFeatures


@runtime_checkable
class FeatureExtractor(Protocol):
    """From an image and its boxes to pool5: one vector per box.

    Law: ``extract(image, boxes) == pool(encode_image(image), boxes)``.

    Attributes:
        feature_dim: length of a pool5 vector.
        config: which scales, pyramid, crops.
        backbone: the network, on the device.
        device: where features are computed, and where they stay.
        dtype: precision of the conv layers.
        stages: methods that are stages of their own -> the names they are timed under.
    """

    feature_dim: int
    config: FeatureConfig
    backbone: Backbone
    device: torch.device
    dtype: torch.dtype
    stages: Mapping[str, str]

    def encode_image(self, image: Image) -> tuple[FeatureMap, ...]:
        """Compute all that no box takes part in, and that may be cached."""
        ...

    def pool(
        self,
        maps: Sequence[FeatureMap],
        boxes: Float[Tensor, "r 4"],
        scale: Int[Tensor, " r"] | None = None,
    ) -> RoIFeatures:
        """Return one vector per box, float32.

        Args:
            maps: one per scale.
            boxes: image pixels.
            scale: the index of each box's scale; None chooses by the size of the box.
        """
        ...

    def extract(self, image: Image, boxes: Float[Tensor, "r 4"]) -> RoIFeatures:
        """Return one vector per box (image pixels), float32."""
        ...

    def with_fewer_scales(self) -> FeatureExtractor | None:
        """Return an extractor of the same vectors that sees less of an image; None without one.

        For a device whose memory does not suffice.
        """
        ...

    def with_scales(self, scales: Sequence[int]) -> FeatureExtractor:
        """Return the same extractor with other sizes of the image, where it has any."""
        ...


@runtime_checkable
class Trainable(FeatureExtractor, Protocol):
    """An extractor whose last conv layers can be trained.

    Law: ``encode_image(image) == run_trainable(run_frozen(image))``.

    Attributes:
        num_scales: at how many sizes an image is seen.
        trainable: the conv layers that are trained; empty without.
    """

    num_scales: int
    trainable: nn.Module

    def unfreeze(self, count: int) -> Trainable:
        """Return an extractor that trains its last ``count`` conv layers; this one stays as it is.

        Args:
            count: -1 for what the paper trains: none of SPPnet's, all of R-CNN's.
        """
        ...

    def with_scales(self, scales: Sequence[int]) -> Trainable:
        """Return the same extractor with other sizes of the image, where it has any."""
        ...

    def at_scale(self, index: int) -> Trainable:
        """Return the same extractor with one of its scales."""
        ...

    def run_frozen(self, image: Image) -> tuple[FeatureMap, ...]:
        """Compute all that neither a box nor a trainable layer takes part in: it may be cached."""
        ...

    def run_trainable(self, maps: Sequence[FeatureMap]) -> tuple[FeatureMap, ...]:
        """Compute what `pool` reads from the frozen layers' maps, with gradients."""
        ...

    def pretrained_fc(self) -> nn.Module | None:
        """Return the fc6 and fc7 that came with the weights, if they read this pool5."""
        ...
