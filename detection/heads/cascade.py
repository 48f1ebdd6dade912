"""A linear score on the coarse levels of the pyramid that spares fc6 and fc7 most boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detection.config import CascadeConfig
from detection.structures import RoIFeatures

NUM_QUANTILES = 2001
"""Recalls that differ by less than 1 / 2000 share a threshold."""

RIDGE = 0.1
"""Of the mean variance of a feature: chosen on training images, between 0.01 and 0.1."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Cascade:
    """What decides, before fc6, which boxes are worth fc6.

    Beyond both papers: a score predicts from a part of pool5 how sure the detector will be of the
    best class of a box. Boxes below a threshold get no score at all.

    Attributes:
        weight: of the columns of pool5 that are read.
        bias: of the score.
        spans: half-open ranges of those columns, one for each map and level.
        quantiles: the cascade's scores of final detections, ascending and evenly spaced in rank.
    """

    weight: Float[Tensor, " d"]
    bias: Float[Tensor, ""]
    spans: Int[Tensor, "m 2"]
    quantiles: Float[Tensor, " q"]

    def score(self, features: Float[Tensor, "u d"]) -> Float[Tensor, " u"]:
        """Return the score of each row of pool5."""
        # The columns side by side: a product over strided ones may be rounded otherwise, and a box
        # have another fate where the other levels were not pooled yet.
        columns = read_columns(features, self.spans)
        return torch.addmv(self.bias.expand(len(features)), columns, self.weight)

    def for_its_columns(self) -> Cascade:
        """Return the same cascade for features that have the columns which it reads alone."""
        widths = self.spans[:, 1] - self.spans[:, 0]
        ends = widths.cumsum(0)
        return replace(self, spans=torch.stack((ends - widths, ends), dim=1))

    def threshold(self, recall: float) -> Float[Tensor, ""]:
        """Return the highest score that this part of final detections reach.

        Args:
            recall: in (0, 1]; 1 is the lowest score of all.
        """
        # A rounding error must not cost a rank: 1 - 0.995 is above 0.005.
        index = int((1 - recall) * (len(self.quantiles) - 1) + 1e-6)
        return self.quantiles[index]

    def survivors(
        self, pool5: RoIFeatures, config: CascadeConfig
    ) -> tuple[RoIFeatures, Bool[Tensor, " r"]]:
        """Return the features of the boxes that go on to fc6, and which boxes these are.

        Law: what becomes of a box depends on the others' features, never on their order; boxes of
        one window share its fate, so that a few more than ``keep`` may be left.

        Args:
            pool5: of every box.
            config: how many boxes, or which recall.
        """
        scores = self.score(pool5.values)
        if config.keep == 0:
            lowest = self.threshold(config.recall)
        elif config.keep < len(pool5.rows):
            lowest = scores[pool5.rows].topk(config.keep).values[-1]
        else:
            return pool5, torch.ones_like(pool5.rows, dtype=torch.bool)
        # A score that is not a number goes on: it is reported where scores are.
        alive = ~(scores < lowest)
        kept = alive[pool5.rows]
        rows = alive.cumsum(0) - 1
        return RoIFeatures(values=pool5.values[alive], rows=rows[pool5.rows[kept]]), kept

    def to(self, device: torch.device) -> Cascade:
        """Return the same cascade on another device."""
        weight, bias, quantiles = (t.to(device) for t in (self.weight, self.bias, self.quantiles))
        return Cascade(weight=weight, bias=bias, spans=self.spans, quantiles=quantiles)

    def tensors(self) -> dict[str, Tensor]:
        """Return what a model file holds of it."""
        return {name: getattr(self, name) for name in ("weight", "bias", "spans", "quantiles")}


def level_spans(
    channels: Sequence[int], pyramid: Sequence[int], levels: Sequence[int]
) -> Int[Tensor, "m 2"]:
    """Return the columns of pool5 that belong to some levels of the pyramid.

    Args:
        channels: of each map.
        pyramid: its levels, in the order of pool5.
        levels: those wanted.
    """
    spans, start = [], 0
    for count in channels:
        for level in pyramid:
            end = start + count * level * level
            spans += [(start, end)] if level in levels else []
            start = end
    return torch.tensor(spans, dtype=torch.int64).view(-1, 2)


def read_columns(features: Float[Tensor, "u d"], spans: Int[Tensor, "m 2"]) -> Tensor:
    """Return the columns of pool5 that a cascade reads, side by side."""
    return torch.cat([features[:, first:end] for first, end in spans.tolist()], dim=1)


def fit_score(
    features: Float[Tensor, "n d"], targets: Float[Tensor, " n"], ridge: float = RIDGE
) -> tuple[Float[Tensor, " d"], Float[Tensor, ""]]:
    """Return weight and bias of the regularised least-squares fit, in closed form.

    Args:
        features: the columns that are read.
        targets: what to predict.
        ridge: in units of the mean variance of a column, so that it suits features of any scale.
    """
    mean, middle = features.mean(dim=0), targets.mean()
    centred = features - mean
    gram = centred.T @ centred
    strength = float(ridge * gram.diagonal().mean())
    gram.diagonal().add_(strength if strength > 0 else 1.0)
    weight = torch.linalg.solve(gram, centred.T @ (targets - middle))
    return weight, middle - mean @ weight


def quantiles_of(scores: Float[Tensor, " n"]) -> Float[Tensor, " q"]:
    """Return evenly spaced order statistics, each rounded down to a score that occurred."""
    places = torch.linspace(0, len(scores) - 1, NUM_QUANTILES, dtype=torch.float64)
    return scores.sort().values[places.floor().long()]
