"""Linear SVMs, one per class: the objective, its two solvers, and the fitted value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.config import SvmConfig
from detection.errors import DataError
from detection.heads import newton
from detection.kernels import tall_matmul

Rows = Float[Tensor, "n d"] | Sequence[Float[Tensor, "_ d"]]
"""Features: one matrix, or its rows in blocks."""
_ROWS = 1024


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Svms:
    """One linear SVM for each class.

    Attributes:
        weight: one row per class, for features of the normalised scale.
        bias: one number per class, in units of the score: it does not scale with the features.
    """

    weight: Float[Tensor, "k d"]
    bias: Float[Tensor, " k"]

    def score(self, features: Float[Tensor, "r d"]) -> Float[Tensor, "r k"]:
        """Return the score of every row for every class.

        In chunks of rows: a product of very many rows with few columns takes longer per row.
        """
        weight, bias = self.weight.to(features.dtype), self.bias.to(features.dtype)
        parts = [torch.addmm(bias, rows, weight.T) for rows in torch.split(features, _ROWS)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def to(self, device: torch.device) -> Svms:
        """Return the same SVMs on another device."""
        return Svms(weight=self.weight.to(device), bias=self.bias.to(device))

    @staticmethod
    def zero(num_classes: int, feature_dim: int) -> Svms:
        """Return SVMs that score everything 0."""
        return Svms(weight=torch.zeros(num_classes, feature_dim), bias=torch.zeros(num_classes))


def svm_objective(
    svms: Svms, x: Rows, targets: Int[Tensor, "n k"], config: SvmConfig
) -> Float[Tensor, " k"]:
    """Return each class's ``0.5 |w|^2 + 0.5 (b / B)^2 + C * sum(weight * loss)`` in float64.

    Args:
        svms: where to evaluate.
        x: features.
        targets: +1 positive, -1 negative, 0 not an example of this class.
        config: C, the positives' weight, B and the loss.

    Source:
        The sum that the released spp_train.m prints; ``hinge`` is its loss, ``squared_hinge``
        liblinear's L2 loss.
    """
    svms = svms.to(targets.device)
    scores = tall_matmul.times(_blocks(x), svms.weight.float()).double() + svms.bias.double()
    slack = (1 - targets * scores).clamp(min=0)
    loss = slack if config.loss == "hinge" else slack.square()
    bias = svms.bias.double() / config.bias_multiplier
    regulariser = 0.5 * (svms.weight.double().square().sum(dim=1) + bias.square())
    return regulariser + (example_costs(targets, config).double() * loss).sum(dim=0)


def example_costs(targets: Int[Tensor, "n k"], config: SvmConfig) -> Float[Tensor, "n k"]:
    """Return the weight of each example's loss: C times the class weight, 0 if ignored."""
    costs = config.c * (targets != 0).float()
    return torch.where(targets > 0, costs * config.positive_weight, costs)


def fit_linear_svms(
    x: Rows,
    targets: Int[Tensor, "n k"],
    config: SvmConfig,
    initial: Svms | None = None,
    class_names: Sequence[str] = (),
) -> Svms:
    """Minimise the objective of every class.

    Args:
        x: features, scaled to the configured norm; on any device, float32 or bfloat16.
        targets: +1 positive, -1 negative, 0 not an example of this class; where they are, the
            solver runs: blocks of features that lie elsewhere are moved there one at a time.
        config: the solver and the constants.
        initial: where the newton solver starts; changes the time, not the result beyond the
            tolerance.
        class_names: for the message below.

    Raises:
        DataError: if a class has no positive or no negative example.
    """
    blocks = _blocks(x)
    _check_both_signs(targets, class_names)
    if config.solver == "sklearn":
        rows = torch.cat([block.float().cpu() for block in blocks])
        return _fit_with_liblinear(rows, targets.cpu(), config).to(targets.device)
    start = initial or Svms.zero(targets.shape[1], blocks[0].shape[1])
    device = targets.device
    weight, constant = newton.minimise(
        blocks,
        targets.float(),
        example_costs(targets, config),
        config.bias_multiplier,
        (
            start.weight.to(device, torch.float32),
            start.bias.to(device, torch.float32) / config.bias_multiplier,
        ),
        config.tolerance,
    )
    return Svms(weight=weight, bias=constant * config.bias_multiplier)


def _blocks(x: Rows) -> Sequence[Tensor]:
    return (x,) if isinstance(x, Tensor) else x


def _check_both_signs(targets: Int[Tensor, "n k"], class_names: Sequence[str]) -> None:
    for kind, mask in (("positive", targets > 0), ("negative", targets < 0)):
        missing = (~mask.any(dim=0)).nonzero().flatten().tolist()
        if missing:
            names = ", ".join(repr(class_names[i]) if class_names else str(i) for i in missing)
            message = (
                f"SVM: class {names}: expected at least one {kind} example, got none; "
                "add training images or leave the class out"
            )
            raise DataError(message)


def _fit_with_liblinear(
    x: Float[Tensor, "n d"], targets: Int[Tensor, "n k"], config: SvmConfig
) -> Svms:
    """Fit one class after the other with liblinear, the reference solver."""
    from sklearn.svm import LinearSVC

    rows, signs = x.numpy(), targets.numpy()
    weights, biases = [], []
    for column in signs.T:
        chosen = np.flatnonzero(column)
        svm = LinearSVC(
            C=config.c,
            loss=config.loss,
            dual=True if config.loss == "hinge" else "auto",
            intercept_scaling=config.bias_multiplier,
            class_weight={1: config.positive_weight, -1: 1.0},
            tol=1e-4,
            max_iter=20_000,
            random_state=0,
        )
        svm.fit(rows[chosen], column[chosen])
        weights.append(svm.coef_[0])
        biases.append(svm.intercept_[0])
    return Svms(
        weight=torch.from_numpy(np.stack(weights)).float(),
        bias=torch.tensor(biases, dtype=torch.float32),
    )
