"""From the features of a RoI to one score per class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from detection.heads.normalisation import Normaliser
from detection.heads.svm import Svms


@runtime_checkable
class Scorer(Protocol):
    """Row-wise: one score per class, higher is better."""

    @property
    def decision_threshold(self) -> float:
        """The score from which a box counts as its class where a yes or no is wanted."""
        ...

    def score(self, features: Float[Tensor, "r d"]) -> Float[Tensor, "r k"]:
        """Return the scores of each RoI."""
        ...

    def to(self, device: torch.device) -> Scorer:
        """Return the same scorer on another device."""
        ...


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class SvmScorer:
    """Features scaled to the mean norm that the SVMs were trained at, then one SVM per class.

    Attributes:
        normaliser: of the layer that the SVMs read.
        svms: one per class.
    """

    decision_threshold: ClassVar[float] = 0.0  # the middle of the margin

    normaliser: Normaliser
    svms: Svms

    def score(self, features: Float[Tensor, "r d"]) -> Float[Tensor, "r k"]:
        """Return unbounded scores; the margin lies between -1 and 1 (RC §2.3).

        The factor goes into the weights: the features, 100 MB per image, are not copied.
        """
        return replace(self.svms, weight=self.normaliser.scale(self.svms.weight)).score(features)

    def to(self, device: torch.device) -> SvmScorer:
        """Return the same scorer on another device."""
        return replace(self, svms=self.svms.to(device))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class SoftmaxScorer:
    """The fine-tuned network's own classifier over K classes and background (RC Appendix B).

    Attributes:
        weight: of fc8, background last.
        bias: of fc8.
    """

    decision_threshold: ClassVar[float] = 0.5  # more probable than all else together

    weight: Float[Tensor, "k1 d"]
    bias: Float[Tensor, " k1"]

    def score(self, features: Float[Tensor, "r d"]) -> Float[Tensor, "r k"]:
        """Return the class probabilities without background."""
        return functional.linear(features, self.weight, self.bias).softmax(dim=1)[:, :-1]

    def to(self, device: torch.device) -> SoftmaxScorer:
        """Return the same scorer on another device."""
        return replace(self, weight=self.weight.to(device), bias=self.bias.to(device))
