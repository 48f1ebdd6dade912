"""The one step in which R-CNN and SPPnet differ, as a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from detection.backbones.backbone import Backbone
from detection.features.network import Network
from detection.structures import FeatureMap, Image, RoIFeatures


@runtime_checkable
class FeatureExtractor(Protocol):
    """From an image and its boxes to pool5: one vector a box.

    Law: ``extract(image, boxes) == pool(prepare(image), boxes)``.

    Attributes:
        feature_dim: length of a pool5 vector.
        channels: of the conv map.
        backbone: the network, on its device.
        network: its conv layers, in the precision they run in.
        stages: methods that are stages of their own -> the names they are timed under.
    """

    feature_dim: int
    channels: int
    backbone: Backbone
    network: Network
    stages: Mapping[str, str]

    def prepare(self, image: Image) -> tuple[FeatureMap, ...]:
        """Do the work that no box takes part in, and that may be cached."""
        ...

    def pool(self, maps: Sequence[FeatureMap], boxes: Float[Tensor, "r 4"]) -> RoIFeatures:
        """Give each box (image pixels) its vector, float32."""
        ...

    def extract(self, image: Image, boxes: Float[Tensor, "r 4"]) -> RoIFeatures:
        """Give each box (image pixels) its vector, float32."""
        ...

    def trainable(self) -> list[nn.Module]:
        """Give what fine-tuning trains besides the fc layers, by the method's paper."""
        ...

    def fixed_fc(self) -> nn.Module | None:
        """Give the fc6 and fc7 that came with the weights, if they fit this pool5."""
        ...
