"""From raw scores to probabilities: how likely a final detection is right at IoU 0.5.

Platt's logistic function for each class (Platt 1999), strictly increasing, so that no ranking
changes. A class with few examples stays close to the function of all classes together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

PRIOR = 10.0
"""How hard a class is held to the function of all classes: 1 / variance of slope and offset, for
scores of mean 0 and deviation 1."""
_FEWEST = 10
"""Detections of each outcome that the function of all classes takes."""
_STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A fitted logistic function for each class, and the threshold that it leads to.

    Attributes:
        slope: of each class, above 0.
        offset: of each class.
        threshold: the probability from which on detections have the best F1.
        f1: that F1, on the images of the fit.
        images: how many those were.
        right: how many detections of each class were right on them.
    """

    slope: tuple[float, ...]
    offset: tuple[float, ...]
    threshold: float
    f1: float = 0.0
    images: int = 0
    right: tuple[int, ...] = ()

    def probabilities(
        self, scores: Float[Tensor, " n"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """Return the probability that each detection is right.

        Args:
            scores: raw, of each detection's class.
            labels: 0..K-1.
        """
        slope, offset = (
            torch.tensor(values, dtype=torch.float64, device=scores.device)[labels]
            for values in (self.slope, self.offset)
        )
        return (slope * scores.double() + offset).sigmoid().to(scores.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, as the header of a model file holds it."""
        return {
            "slope": list(self.slope),
            "offset": list(self.offset),
            "threshold": self.threshold,
            "f1": self.f1,
            "images": self.images,
            "right": list(self.right),
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Calibration:
        """Return what ``to_dict`` described."""
        return Calibration(
            slope=tuple(map(float, values["slope"])),
            offset=tuple(map(float, values["offset"])),
            threshold=float(values["threshold"]),
            f1=float(values.get("f1", 0.0)),
            images=int(values.get("images", 0)),
            right=tuple(map(int, values.get("right", ()))),
        )


def fit_calibration(
    scores: Sequence[Float[np.ndarray, " _"]],
    right: Sequence[Bool[np.ndarray, " _"]],
    num_objects: int,
    num_images: int = 0,
) -> Calibration | None:
    """Fit the functions of all classes and the threshold; None where there is too little.

    Args:
        scores: of each class's final detections, on images that the classifier has not seen.
        right: whether each is.
        num_objects: of all classes on these images, found or not.
        num_images: how many these are.
    """
    everything = np.concatenate([np.zeros(0), *scores]).astype(np.float64)
    outcomes = np.concatenate([np.zeros(0, dtype=bool), *right])
    if min(outcomes.sum(), (~outcomes).sum()) < _FEWEST:
        return None
    centre, spread = everything.mean(), max(everything.std(), 1e-6)
    pooled = _fit((everything - centre) / spread, outcomes, np.array([1.0, 0.0]), 1e-3)
    pooled[0] = max(pooled[0], 1e-3)
    lines = []
    for own, its_right in zip(scores, right, strict=True):
        line = _fit((own.astype(np.float64) - centre) / spread, its_right, pooled, PRIOR)
        lines.append(line if line[0] > 0 else pooled)  # a score that means nothing
    slope = [line[0] / spread for line in lines]
    offset = [line[1] - line[0] * centre / spread for line in lines]
    logits = [a * s.astype(np.float64) + b for a, b, s in zip(slope, offset, scores, strict=True)]
    threshold, f1 = best_f1(sigmoid(np.concatenate(logits)), outcomes, num_objects)
    return Calibration(
        slope=tuple(map(float, slope)),
        offset=tuple(map(float, offset)),
        threshold=threshold,
        f1=f1,
        images=num_images,
        right=tuple(int(one.sum()) for one in right),
    )


def best_f1(
    probabilities: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], num_objects: int
) -> tuple[float, float]:
    """Return the lowest probability to keep for the best F1, and that F1.

    The threshold lies midway between the last that is kept and the next.

    Args:
        probabilities: at least one.
        right: whether each is.
        num_objects: found or not.
    """
    order = np.argsort(-probabilities, kind="stable")
    falling, found = probabilities[order], np.cumsum(right[order])
    f1 = 2 * found / (np.arange(1, len(order) + 1) + max(num_objects, 1))
    last = np.append(falling[1:] < falling[:-1], True)  # equal ones are kept together
    best = int(np.where(last, f1, -1).argmax())
    following = falling[best + 1] if best + 1 < len(falling) else 0.0
    return float((falling[best] + following) / 2), float(f1[best])


def sigmoid(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the logistic function without overflow."""
    probabilities: Float[np.ndarray, " n"] = 0.5 * (1 + np.tanh(values / 2))
    return probabilities


def _fit(
    x: Float[np.ndarray, " n"],
    right: Bool[np.ndarray, " n"],
    prior: Float[np.ndarray, " 2"],
    strength: float,
) -> Float[np.ndarray, " 2"]:
    """Minimise the logistic loss plus ``strength / 2 |line - prior|^2`` by Newton's method.

    Source:
        Lin, Lin and Weng 2007, A note on Platt's probabilistic outputs: damped Newton steps.
    """
    design = np.stack((x, np.ones_like(x)), axis=1)
    line = prior.astype(np.float64)
    loss = _loss(design, right, line, prior, strength)
    for _ in range(_STEPS):
        p = sigmoid(design @ line)
        gradient = design.T @ (p - right) + strength * (line - prior)
        curvature = (design * (p * (1 - p))[:, None]).T @ design + strength * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        length = 1.0
        while length > 1e-6:
            following = line - length * step
            lower = _loss(design, right, following, prior, strength)
            if lower <= loss:
                break
            length /= 2
        else:
            break
        done = loss - lower <= 1e-12 * max(loss, 1.0)
        line, loss = following, lower
        if done:
            break
    return line


def _loss(
    design: Float[np.ndarray, "n 2"],
    right: Bool[np.ndarray, " n"],
    line: Float[np.ndarray, " 2"],
    prior: Float[np.ndarray, " 2"],
    strength: float,
) -> float:
    logits = design @ line
    losses = np.logaddexp(0, logits) - right * logits
    return float(losses.sum() + strength / 2 * np.square(line - prior).sum())
