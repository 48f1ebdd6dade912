"""What ``metrics.json`` holds of Hoiem's two analyses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from detection.config import EvaluationConfig
from detection.evaluation.hoiem import (
    FALSE_POSITIVE_TYPES,
    detection_shares,
    rank_false_positives,
    similar_classes,
)
from detection.evaluation.sensitivity import sensitivity
from detection.evaluation.voc_ap import mean_of_known
from detection.structures import Detections, GroundTruth


def diagnose(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    config: EvaluationConfig,
) -> dict[str, Any]:
    """Return both analyses in short, as plain data.

    ``top_detections`` has for each class how as many detections as it has objects, the best-scored
    ones, divide into right ones and the kinds of false positives; None where there are none.
    ``normalised_ap`` has the mean over classes for all objects and for each subset.

    Args:
        truths: one for each image of the split.
        detections: in any order; an image may be absent.
        class_names: label -> name.
        config: IoU and similar classes.

    Raises:
        DataError: see ``evaluate_voc``.
        ConfigError: if a class that is to be similar is unknown.
    """
    similar = similar_classes(class_names, config.similar_classes)
    ranked = rank_false_positives(truths, detections, similar, iou=config.iou)
    parts = sensitivity(truths, detections, len(class_names), iou=config.iou)
    kinds = ("right", *FALSE_POSITIVE_TYPES)
    return {
        "top_detections": {
            name: _named(kinds, detection_shares(ranked, label, 1.0))
            for label, name in enumerate(class_names)
        },
        "normalised_ap": {
            "all": _known(mean_of_known(parts.ap)),
            **{one.name: _named(one.subsets, one.mean) for one in parts.characteristics},
        },
    }


def _named(names: Sequence[str], values: Float[np.ndarray, " n"]) -> dict[str, float | None] | None:
    if np.isnan(values).all():
        return None
    return {name: _known(value) for name, value in zip(names, values.tolist(), strict=True)}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
