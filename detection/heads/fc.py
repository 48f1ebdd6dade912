"""The fully connected layers fc6 and fc7: from pooled features to 4,096 numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.errors import CheckpointError
from detection.heads.resampling import resample_grid

FcName = Literal["fc6", "fc7"]
FcStart = Literal["weights", "resampled", "random"]
"""What fc6 and fc7 started their training from: the values of the weight file, those of its fc6
resampled to another pyramid, or nothing."""


class FcHead(nn.Module):
    """fc6 and fc7, each a linear layer, ReLU and dropout; or fc6 alone.

    Args:
        feature_dim: length of a pooled feature.
        size: width of both layers, 4096 in both papers.
        dropout: applied while training.
        bias: initial bias of both layers; 1 in the released ZF-5.
        generator: of the initial weights, N(0, ``std``).
        std: standard deviation of the initial weights; the default 0.01 suits 4096 inputs and more.
        single: leave out fc7.

    Attributes:
        start: what the layers started from, to be said wherever their results are.

    Source:
        The released Zeiler_conv5.prototxt: N(0, 0.01), bias 1, dropout 0.5.
    """

    def __init__(
        self,
        feature_dim: int,
        *,
        size: int = 4096,
        dropout: float = 0.5,
        bias: float = 1.0,
        std: float = 0.01,
        generator: torch.Generator | None = None,
        single: bool = False,
    ) -> None:
        super().__init__()
        self.fc6 = nn.Linear(feature_dim, size)
        self.fc7 = None if single else nn.Linear(size, size)
        self.dropout = dropout
        self.start: FcStart = "random"
        for layer in self.layers:
            nn.init.normal_(layer.weight, 0.0, std, generator=generator)
            nn.init.constant_(layer.bias, bias)

    def forward(self, x: Float[Tensor, "n d"], layer: FcName = "fc7") -> Float[Tensor, "n f"]:
        """Return fc6 or fc7 after its ReLU, and after dropout in training mode."""
        fc6 = self._drop(torch.relu(self.fc6(x)))
        if layer == "fc6" or self.fc7 is None:
            return fc6
        return self._drop(torch.relu(self.fc7(fc6)))

    @property
    def layers(self) -> list[nn.Linear]:
        """Return fc6 and, where there is one, fc7."""
        return [self.fc6] if self.fc7 is None else [self.fc6, self.fc7]

    @property
    def out_features(self) -> int:
        """Return the width of the last layer."""
        return self.fc6.out_features

    def _drop(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.dropout, training=self.training)

    @staticmethod
    def from_module(module: nn.Module, dropout: float = 0.5) -> FcHead:
        """Take over the two linear layers of a network that came with its own fc6 and fc7.

        Raises:
            CheckpointError: if it has not exactly two linear layers that fit together.
        """
        layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
        sizes = [(layer.in_features, layer.out_features) for layer in layers]
        if len(layers) != 2 or sizes[0][1] != sizes[1][0] or sizes[1][0] != sizes[1][1]:
            message = (
                f"fc layers: expected fc6 (d -> f) and fc7 (f -> f), got {sizes}; "
                "take features.layer=pool5 with this backbone"
            )
            raise CheckpointError(message)
        head = FcHead(sizes[0][0], size=sizes[1][1], dropout=dropout)
        head.load_state_dict(
            {
                f"{name}.{key}": value
                for name, layer in zip(("fc6", "fc7"), layers, strict=True)
                for key, value in layer.state_dict().items()
            }
        )
        head.start = "weights"
        return head

    def resampled(self, channels: int, levels: Sequence[int]) -> FcHead:
        """Return the same layers for a pyramid instead of the one grid that fc6 reads.

        Args:
            channels: of the map; fc6 reads a square grid of each.
            levels: of the pyramid.
        """
        weight = resample_grid(self.fc6.weight.detach(), channels, levels)
        head = FcHead(weight.shape[1], size=len(weight), dropout=self.dropout)
        with torch.no_grad():
            head.fc6.weight.copy_(weight)
            head.fc6.bias.copy_(self.fc6.bias)
        head.fc7 = self.fc7
        head.start = "resampled"
        return head
