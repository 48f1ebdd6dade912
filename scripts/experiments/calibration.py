"""Which calibration: logistic or isotonic, of all classes together or of each.

Trains as the command line says, keeps the detections that the calibration is fitted to, and
compares the ways of fitting on folds of the images that these come from:
``python scripts/experiments/calibration.py --config configs/synthetic_sppnet.yaml --out runs/x``.
Nothing is seen but training images.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from detection.cli.main import main
from detection.errors import DataError
from detection.evaluation.calibration import LIKELY, expected_error
from detection.evaluation.matching import IGNORED, TRUE_POSITIVE, match_detections
from detection.heads import calibration as logistic
from detection.heads.calibration import Calibration
from detection.structures import Detections, GroundTruth
from detection.training import calibration

Array = NDArray[Any]

FOLDS = 5
PRIORS = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0)


def store_pairs(path: Path) -> None:
    """Let the fit store what it is given: a list that grows by (score, label, right, image)."""
    fit = calibration.fit

    def storing(
        truths: Sequence[GroundTruth], detections: Sequence[Detections], num_classes: int
    ) -> Calibration | None:
        matches = match_detections(truths, detections, num_classes, iou=calibration.IOU)
        rows = [
            np.stack((m.scores, np.full(len(m.scores), label), m.outcomes, m.images), axis=1)
            for label, m in enumerate(matches)
        ]
        np.save(path, np.concatenate(rows))
        return fit(truths, detections, num_classes)

    setattr(calibration, "fit", storing)  # noqa: B010


def isotonic(scores: Array, right: Array, shown: Array) -> Array:
    """Fit a monotone step function; apply it."""
    fitted = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4, out_of_bounds="clip")
    values: Array = fitted.fit(scores, right).predict(shown)
    return values


def lines(fitted: Calibration, shown: Array, labels: Array) -> Array:
    """Apply the package's logistic functions."""
    slope, offset = (np.array(values)[labels] for values in (fitted.slope, fitted.offset))
    return logistic.sigmoid(slope * shown + offset)


def fit_lines(
    scores: Array, labels: Array, right: Array, num_classes: int, prior: float
) -> Calibration:
    """Fit the package's logistic functions with a prior."""
    before, logistic.PRIOR = logistic.PRIOR, prior
    own = [labels == label for label in range(num_classes)]
    fitted = logistic.fit_calibration([scores[o] for o in own], [right[o] for o in own], 1)
    logistic.PRIOR = before
    if fitted is None:
        message = "expected more detections"
        raise DataError(message)
    return fitted


def held_out_predictions(
    scores: Array, labels: Array, right: Array, images: Array, way: str
) -> Array:
    """Return the probability of each detection by a fit to the other images."""
    num_classes = labels.max() + 1
    values = np.zeros(len(scores))
    parts = np.random.default_rng(0).permutation(images.max() + 1) % FOLDS
    for number in range(FOLDS):
        out = parts[images] == number
        some = (scores[~out], labels[~out], right[~out])
        if way == "isotonic, all classes":
            values[out] = isotonic(some[0], some[2], scores[out])
        elif way == "isotonic, each class":
            for label in range(num_classes):
                a, b = ~out & (labels == label), out & (labels == label)
                if a.any():
                    values[b] = isotonic(scores[a], right[a], scores[b])
        elif way == "logistic, all classes":
            fitted = fit_lines(some[0], some[1] * 0, some[2], 1, 1.0)
            values[out] = lines(fitted, scores[out], labels[out] * 0)
        else:
            prior = max(float(way.rpartition(" ")[2]), 1e-6)
            fitted = fit_lines(*some, num_classes, prior)
            values[out] = lines(fitted, scores[out], labels[out])
    return values


def compare(path: Path) -> None:
    """Print log loss and calibration errors of each way."""
    scores, labels, outcomes, images = np.load(path).T
    kept = outcomes != IGNORED
    scores, labels, images = scores[kept], labels[kept].astype(int), images[kept].astype(int)
    right = outcomes[kept] == TRUE_POSITIVE
    ways = ["logistic, all classes", "isotonic, all classes", "isotonic, each class"]
    for way in [*ways, *(f"logistic, each class, prior {prior:g}" for prior in PRIORS)]:
        p = np.clip(held_out_predictions(scores, labels, right, images, way), 1e-6, 1 - 1e-6)
        likely = p >= LIKELY
        row = {
            "way": way,
            "log_loss": -float(np.where(right, np.log(p), np.log1p(-p)).sum() / right.sum()),
            "ece": expected_error(p, right),
            "ece_likely": expected_error(p[likely], right[likely]),
        }
        sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    words = sys.argv[1:]
    out = Path(words[words.index("--out") + 1])
    out.parent.mkdir(parents=True, exist_ok=True)
    stored = out.parent / f"{out.name}-held-out.npy"
    store_pairs(stored)
    code = 0 if stored.exists() else main(["train", *words])
    if code == 0:
        compare(stored)
    sys.exit(code)
