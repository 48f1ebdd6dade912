"""Bounding-box regression: one ridge regressor per class on the pooled conv features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.config import BBoxConfig
from detection.errors import DataError
from detection.io.device import is_host

CHUNK = 2048
CHEAP = 20  # so many classes of a row cost as much as a copy of it for one class
WHITENING_FLOOR = 0.001
"""Added to each variance before its square root (the released spp_train_bbox_regressor.m)."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class BBoxRegressors:
    """One regressor for each class, the whitening already undone in its coefficients.

    Attributes:
        weight: for features of the normalised scale.
        bias: the deltas of a zero feature vector.
        reads: ``pool5``, as in both papers, or what the scorer reads: regressors that were trained
            together with the classifier (FR §2.3).
    """

    weight: Float[Tensor, "k 4 d"]
    bias: Float[Tensor, "k 4"]
    reads: Literal["pool5", "scored"] = "pool5"

    def scaled(self, factor: float) -> BBoxRegressors:
        """Return the regressors for features ``factor`` times smaller; the bias stays."""
        return replace(self, weight=self.weight * factor)

    def to(self, device: torch.device) -> BBoxRegressors:
        """Return the same regressors on another device."""
        return replace(self, weight=self.weight.to(device), bias=self.bias.to(device))

    def deltas(self, features: Float[Tensor, "r d"]) -> Float[Tensor, "r k 4"]:
        """Return the deltas (dx, dy, dw, dh) of every row for every class."""
        weight = self.weight.flatten(0, 1).to(features.dtype)
        deltas = torch.addmm(self.bias.flatten().to(features.dtype), features, weight.T)
        return deltas.view(len(features), len(self.weight), 4)

    def deltas_of(
        self,
        features: Float[Tensor, "u d"],
        labels: Int[Tensor, " r"],
        rows: Int[Tensor, " r"] | None = None,
    ) -> Float[Tensor, "r 4"]:
        """Return (dx, dy, dw, dh) of every box, row by row or of ``rows``, for its own class only.

        A class at a time, which copies its rows alone; few rows of many boxes for all classes at
        once, which copies none. So does a GPU: to know the classes here would mean to wait for it.
        """
        rows = torch.arange(len(labels), device=labels.device) if rows is None else rows
        if not is_host(features.device) or len(features) * len(self.weight) <= CHEAP * len(labels):
            return self.deltas(features)[rows, labels]
        deltas = self.bias.to(features.dtype)[labels]
        for label in sorted(set(labels.tolist())):
            boxes = (labels == label).nonzero().flatten()
            deltas[boxes] += features[rows[boxes]] @ self.weight[label].to(features.dtype).T
        return deltas


def fit_bbox_regressors(
    classes: Iterable[tuple[Float[Tensor, "_ d"], Float[Tensor, "_ 4"]]], config: BBoxConfig
) -> BBoxRegressors:
    """Fit each class to its examples; a class without examples leaves boxes as they are.

    Args:
        classes: of each class the features of its examples, scaled to the configured norm and of
            any float type, and the deltas from the example's box to the object that it overlaps
            most (``boxes.encode_deltas``).
        config: lambda and whitening.

    Raises:
        DataError: if a delta is not finite.

    Source:
        Girshick et al. 2014, Appendix C; whitening and the regularised bias from the released code.
    """
    solutions = torch.stack([_fit_one(features, deltas, config) for features, deltas in classes])
    return BBoxRegressors(weight=solutions[..., :-1], bias=solutions[..., -1])


def _fit_one(
    features: Float[Tensor, "n d"], deltas: Float[Tensor, "n 4"], config: BBoxConfig
) -> Float[Tensor, "4 e"]:
    """Return the weights of one class, then its bias as the last column, on the CPU.

    The device of ``deltas`` does the arithmetic: features that lie elsewhere are moved there a
    chunk at a time.
    """
    if not deltas.isfinite().all():
        message = "box regression: expected finite deltas, got others; check the boxes"
        raise DataError(message)
    if len(deltas) == 0:
        return torch.zeros(4, features.shape[1] + 1)
    targets = deltas.double()
    mean = targets.mean(dim=0)
    identity = torch.eye(4, dtype=torch.float64, device=targets.device)
    forward, backward = whitening(targets) if config.whiten else (identity, identity)
    solution = ridge(features, (targets - mean) @ forward, config.ridge)
    solution = backward @ solution
    solution[:, -1] += mean
    return solution.float().cpu()


def whitening(
    targets: Float[Tensor, "n 4"],
) -> tuple[Float[Tensor, "4 4"], Float[Tensor, "4 4"]]:
    """Return T that whitens the targets (their covariance, up to a floor) and its inverse.

    Law: ``cov(targets @ T) == V diag(D / (D + floor)) V'``.
    """
    centred = targets - targets.mean(dim=0)
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(targets))
    roots = (variances.clamp(min=0) + WHITENING_FLOOR).sqrt()
    return vectors / roots @ vectors.T, vectors * roots @ vectors.T


def ridge(
    features: Float[Tensor, "n d"], targets: Float[Tensor, "n m"], strength: float
) -> Float[Tensor, "m e"]:
    """Minimise ``|A w - y|^2 + strength |w|^2``, A being the features and a column of ones.

    One factorisation serves all targets. The Gram matrix is the smaller of A A' and A' A: products
    in float32, sums of them and the factorisation in float64.

    Source:
        The released code regularises the bias too: ``strength`` times the whole identity.
    """
    few_rows = len(features) <= features.shape[1]
    gram = (_rows_gram if few_rows else _columns_gram)(features, targets.device)
    gram.diagonal().add_(strength)
    factor = torch.linalg.cholesky(gram)
    if few_rows:
        return _adjoint(features, torch.cholesky_solve(targets, factor)).T
    return torch.cholesky_solve(_adjoint(features, targets), factor).T


def _rows_gram(features: Float[Tensor, "n d"], device: torch.device) -> Float[Tensor, "n n"]:
    n = len(features)
    gram = torch.ones(n, n, dtype=torch.float64, device=device)
    for start in range(0, features.shape[1], CHUNK):
        columns = features[:, start : start + CHUNK].to(device).float()
        gram += columns @ columns.T
    return gram


def _columns_gram(features: Float[Tensor, "n d"], device: torch.device) -> Float[Tensor, "e e"]:
    size = features.shape[1] + 1
    gram = torch.zeros(size, size, dtype=torch.float64, device=device)
    for start in range(0, len(features), CHUNK):
        rows = _with_ones(features[start : start + CHUNK].to(device).float())
        gram += rows.T @ rows
    return gram


def _adjoint(features: Float[Tensor, "n d"], values: Float[Tensor, "n m"]) -> Float[Tensor, "e m"]:
    out = values.new_zeros(features.shape[1] + 1, values.shape[1])
    for start in range(0, len(features), CHUNK):
        rows = _with_ones(features[start : start + CHUNK].to(values.device).double())
        out.addmm_(rows.T, values[start : start + CHUNK])
    return out


def _with_ones(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n e"]:
    return torch.cat((rows, rows.new_ones(len(rows), 1)), dim=1)
