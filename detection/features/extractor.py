"""The one step in which R-CNN and SPPnet differ, as a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from detection.backbones.backbone import Backbone
from detection.config import FeatureConfig
from detection.features.network import Network
from detection.structures import FeatureMap, Image, RoIFeatures


@runtime_checkable
class FeatureExtractor(Protocol):
    """From an image and its boxes to pool5: one vector a box.

    Laws: ``extract(image, boxes) == pool(prepare(image), boxes)``, and while layers are open
    ``prepare(image) == above(below(image))``.

    Attributes:
        feature_dim: length of a pool5 vector.
        channels: of the conv map.
        num_scales: at how many sizes an image is seen.
        backbone: the network, on its device.
        network: its conv layers, in the precision they run in.
        config: which scales, pyramid, crops.
        stages: methods that are stages of their own -> the names they are timed under.
    """

    feature_dim: int
    channels: int
    num_scales: int
    backbone: Backbone
    network: Network
    config: FeatureConfig
    stages: Mapping[str, str]

    def prepare(self, image: Image) -> tuple[FeatureMap, ...]:
        """Do the work that no box takes part in, and that may be cached."""
        ...

    def pool(
        self,
        maps: Sequence[FeatureMap],
        boxes: Float[Tensor, "r 4"],
        scale: Int[Tensor, " r"] | None = None,
    ) -> RoIFeatures:
        """Give each box (image pixels) its vector, float32.

        Args:
            maps: one a scale.
            boxes: image pixels.
            scale: the index of each box's scale; None chooses by the size of the box.
        """
        ...

    def extract(self, image: Image, boxes: Float[Tensor, "r 4"]) -> RoIFeatures:
        """Give each box (image pixels) its vector, float32."""
        ...

    def open_layers(self, count: int) -> nn.Module:
        """Give the last ``count`` conv layers, to be trained; -1 for what the paper trains.

        From now on `below` stops in front of them, and `above` runs them with gradients.
        """
        ...

    def below(self, image: Image) -> tuple[FeatureMap, ...]:
        """Do the work that neither a box nor an open layer takes part in, and that may be cached.

        The values are those that the first open layer reads.
        """
        ...

    def above(self, maps: Sequence[FeatureMap]) -> tuple[FeatureMap, ...]:
        """Give what `pool` reads, with gradients where layers are open."""
        ...

    def fixed_fc(self) -> nn.Module | None:
        """Give the fc6 and fc7 that came with the weights, if they fit this pool5."""
        ...

    def cheaper(self) -> FeatureExtractor | None:
        """Give an extractor of the same vectors that sees less of an image; None if there is none.

        For a device whose memory does not suffice. No layer may be open.
        """
        ...
