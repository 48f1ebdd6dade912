"""How far probabilities hold: reliability, expected calibration error, precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from detection.evaluation.matching import IGNORED, TRUE_POSITIVE, ClassMatches, match_detections
from detection.structures import Detections, GroundTruth

BINS = 15
"""Equal parts of 0 to 1 (Guo et al. 2017)."""
LIKELY = 0.1
"""Most detections are far less probable than this, and hide in a mean over all how well the rest is
calibrated."""
_POINTS = 200


def calibration_metrics(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    num_classes: int,
    iou: float = 0.5,
) -> dict[str, Any]:
    """Return what ``metrics.json`` holds of the probabilities.

    ``ece`` is the expected calibration error: the mean distance of probability and fraction right
    over the bins, weighted by their detections; ``ece_likely`` that of the detections with a
    probability of 0.1 or more. ``raw`` has the same of the scores, an SVM's through the logistic
    function. ``bins`` has their numbers, ``curve`` precision, recall and F1 of the thresholds.

    Args:
        truths: one for each image of the split.
        detections: with probabilities.
        num_classes: K.
        iou: the least overlap of a right detection.
    """
    matches = match_detections(truths, detections, num_classes, iou=iou)
    values = np.concatenate([np.zeros(0), *_aligned(truths, detections, matches)])
    outcomes = np.concatenate([np.zeros(0), *(match.outcomes for match in matches)])
    raw = np.concatenate([np.zeros(0), *(match.scores for match in matches)])
    counted = outcomes != IGNORED  # a detection of a difficult object is neither right nor wrong
    values, raw, right = values[counted], raw[counted], outcomes[counted] == TRUE_POSITIVE
    if raw.size and (raw.min() < 0 or raw.max() > 1):
        raw = 0.5 * (1 + np.tanh(raw / 2))
    num_objects = sum(match.num_objects for match in matches)
    return {
        **_errors(values, right),
        "raw": _errors(raw, right),
        "bins": reliability(values, right),
        "curve": curve(values, right, num_objects),
    }


def reliability(
    values: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]
) -> list[dict[str, float | int]]:
    """Return, of each bin that is not empty, its count, mean probability and fraction right."""
    bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
    rows: list[dict[str, float | int]] = []
    for index in np.unique(bins):
        own = bins == index
        rows.append(
            {
                "count": int(own.sum()),
                "probability": float(values[own].mean()),
                "right": float(right[own].mean()),
            }
        )
    return rows


def expected_error(values: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> float:
    """Return the expected calibration error; NaN of nothing."""
    if not len(values):
        return float("nan")
    gaps = [
        row["count"] * abs(row["probability"] - row["right"]) for row in reliability(values, right)
    ]
    return float(sum(gaps) / len(values))


def curve(
    values: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], num_objects: int
) -> dict[str, list[float]]:
    """Return precision, recall and F1 of the detections from each of many thresholds on."""
    thresholds = np.linspace(0, 1, _POINTS + 1)
    order = np.argsort(values, kind="stable")
    rising, found = values[order], right[order][::-1].cumsum()[::-1]
    first = np.searchsorted(rising, thresholds)
    kept = len(values) - first
    hits = np.append(found, 0)[first]
    return {
        "threshold": thresholds.tolist(),
        "precision": np.where(kept > 0, hits / np.maximum(kept, 1), 1.0).tolist(),
        "recall": (hits / max(num_objects, 1)).tolist(),
        "f1": (2 * hits / np.maximum(kept + num_objects, 1)).tolist(),
    }


def _errors(values: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> dict[str, float]:
    likely = values >= LIKELY
    return {
        "ece": expected_error(values, right),
        "ece_likely": expected_error(values[likely], right[likely]),
    }


def _aligned(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    matches: Sequence[ClassMatches],
) -> list[Float[np.ndarray, " _"]]:
    """Return the probabilities of each class's detections, in the order of its matches."""
    by_id = {one.image_id: one.confidences.double().numpy() for one in detections}
    none = np.zeros(0)
    of_image = [by_id.get(truth.image_id, none) for truth in truths]
    starts = np.cumsum([0, *(len(values) for values in of_image)])
    everything = np.concatenate([none, *of_image])
    return [everything[starts[match.images] + match.boxes] for match in matches]
