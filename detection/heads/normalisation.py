"""Scale features to a fixed mean norm, so that one C suits every layer and network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from detection.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Normaliser:
    """A factor for the features of one layer.

    Attributes:
        factor: what features are multiplied by.
    """

    factor: float = 1.0

    def scale(self, values: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Return the features multiplied by the factor."""
        return values * self.factor


def fit_normaliser(norms: Float[Tensor, " n"], target: float = 20.0) -> Normaliser:
    """Find the factor that brings the mean norm to ``target``.

    Args:
        norms: L2 norms of feature vectors, a sample over images and boxes.
        target: the mean norm to reach.

    Raises:
        DataError: if there is no norm, or their mean is zero or not finite.

    Source:
        The released code, spp_feature_stats.m: at most 200 random boxes of at most 200 random
        images; not in either paper.
    """
    mean = float(norms.double().mean()) if norms.numel() else 0.0
    if not (math.isfinite(mean) and mean > 0):
        message = (
            f"feature norms: expected a positive finite mean, got {mean} over {norms.numel()} "
            "boxes; check the network's weights and the proposals"
        )
        raise DataError(message)
    return Normaliser(factor=target / mean)
