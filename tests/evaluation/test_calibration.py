import math

import numpy as np
import pytest
import torch

from detection.evaluation.calibration import (
    calibration_metrics,
    curve,
    expected_error,
    reliability,
)
from detection.structures import Detections, GroundTruth

OBJECT = [10.0, 10.0, 30.0, 30.0]
ELSEWHERE = [60.0, 60.0, 80.0, 80.0]


def truth(image_id, *, difficult=False):
    return GroundTruth(
        image_id=image_id,
        size=(100, 100),
        boxes=torch.tensor([OBJECT]),
        labels=torch.tensor([0]),
        difficult=torch.tensor([difficult]),
    )


def found(image_id, *rows):
    boxes, scores, probabilities = zip(*rows, strict=True)
    return Detections(
        image_id=image_id,
        boxes=torch.tensor(boxes),
        scores=torch.tensor(scores),
        labels=torch.zeros(len(rows), dtype=torch.int64),
        probabilities=torch.tensor(probabilities),
    )


def test_the_error_is_the_weighted_distance_of_probability_and_fraction_right():
    values = np.array([0.5, 0.5, 0.5, 0.5, 0.9])
    right = np.array([True, False, False, False, True])
    rows = reliability(values, right)
    assert rows == [
        {"count": 4, "probability": 0.5, "right": 0.25},
        {"count": 1, "probability": 0.9, "right": 1.0},
    ]
    assert expected_error(values, right) == pytest.approx((4 * 0.25 + 1 * 0.1) / 5)
    assert math.isnan(expected_error(values[:0], right[:0]))


def test_a_certain_detection_is_in_the_last_bin():
    assert reliability(np.array([1.0, 0.99]), np.array([True, False]))[0]["count"] == 2


def test_the_curve_counts_what_is_at_or_above_each_threshold():
    random = np.random.default_rng(0)
    values, right = np.append(random.random(60), [0.5, 0.5]), random.random(62) < 0.4
    got = curve(values, right, 40)
    for index, threshold in enumerate(got["threshold"]):
        kept = values >= threshold
        hits = (right & kept).sum()
        assert got["recall"][index] == pytest.approx(hits / 40)
        assert got["f1"][index] == pytest.approx(2 * hits / (kept.sum() + 40))
        if kept.any():
            assert got["precision"][index] == pytest.approx(hits / kept.sum())


def test_difficult_objects_count_neither_way_and_each_detection_has_its_probability():
    truths = [truth("a"), truth("b", difficult=True), truth("c")]
    detections = [
        found("c", (OBJECT, 0.5, 0.7), (ELSEWHERE, -1.0, 0.2)),
        found("b", (OBJECT, 2.0, 0.95)),
        found("a", (ELSEWHERE, 1.0, 0.8)),
    ]
    values = calibration_metrics(truths, detections, 1)
    assert [row["count"] for row in values["bins"]] == [1, 1, 1]
    assert [row["right"] for row in values["bins"]] == [0.0, 1.0, 0.0]
    assert [row["probability"] for row in values["bins"]] == pytest.approx([0.2, 0.7, 0.8])
    assert values["ece"] == pytest.approx((0.2 + 0.3 + 0.8) / 3)
    raw = [1 / (1 + math.exp(-score)) for score in (-1.0, 0.5, 1.0)]
    assert values["raw"]["ece"] == pytest.approx((raw[0] + 1 - raw[1] + raw[2]) / 3)
    assert max(values["curve"]["f1"]) == pytest.approx(2 * 1 / (2 + 2))
