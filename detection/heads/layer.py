"""The layer that the SVMs read, as a function of pool5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detection.heads.fc import FcHead, Layer


def identity(pool5: Float[Tensor, "u d"]) -> Float[Tensor, "u d"]:
    """Give pool5 itself, for SVMs that read it."""
    return pool5


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class FcLayer:
    """fc6 or fc7 of pool5, as at test: without dropout, without gradients.

    Attributes:
        head: the two fc layers.
        layer: which of them to read.
    """

    head: FcHead
    layer: Layer

    def __call__(self, pool5: Float[Tensor, "u d"]) -> Float[Tensor, "u f"]:
        """Give the layer of each row."""
        with torch.no_grad():
            return self.head.eval().forward(pool5, self.layer)

    def to(self, device: torch.device) -> FcLayer:
        """Give the layer on a device."""
        return FcLayer(head=self.head.to(device), layer=self.layer)

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], layer: Layer) -> FcLayer:
        """Build fc6 and fc7 as wide as their stored tensors."""
        size, feature_dim = tensors["fc6.weight"].shape
        head = FcHead(int(feature_dim), size=int(size))
        head.load_state_dict(dict(tensors))
        return FcLayer(head=head, layer=layer)
