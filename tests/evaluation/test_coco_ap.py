import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.errors import DataError
from detection.evaluation.coco_ap import evaluate_coco
from detection.evaluation.matching import match_detections
from detection.evaluation.voc_ap import evaluate_voc
from tests.evaluation.cases import as_detections, detections_of, random_case, truth

BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def separated_case(seed):
    """Objects and detections in cells of their own: the nearest object is the only near one."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for image in range(5):
        cells = np.array([[x, y, x + 20, y + 20] for x in range(0, 200, 40) for y in (0, 40)])
        has_object, has_guess = rng.random(10) < 0.5, rng.random(10) < 0.7
        labels = rng.integers(0, 2, 10)
        boxes = cells[has_object].astype(np.float32)
        shift = rng.uniform(-6, 6, (10, 4))
        truths.append(truth(str(image), boxes, labels[has_object], size=(80, 200)))
        scores = rng.permutation(1000)[:10] / 1000 + image / 10000
        detections.append(
            detections_of(
                str(image), (cells + shift)[has_guess], scores[has_guess], labels[has_guess]
            )
        )
    return truths, detections


def interpolated_at_101_points(curve):
    recalls = np.linspace(0, 1, 101)
    best = [curve.precision[curve.recall >= r].max(initial=0.0) for r in recalls]
    return float(np.mean(best))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_pycocotools_agrees_with_the_devkits_matches_where_the_rules_coincide(seed):
    # No difficult objects, one near object for each detection, no ties: only the averaging differs.
    truths, detections = separated_case(seed)
    voc = evaluate_voc(truths, detections, ("a", "b"))
    expected = [
        interpolated_at_101_points(curve) if count else np.nan
        for curve, count in zip(voc.curves, voc.num_objects, strict=True)
    ]
    got = evaluate_coco(truths, detections, ("a", "b")).per_class_50
    np.testing.assert_allclose(got, expected, atol=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_ground_truth_fed_back_scores_exactly_one(seed):
    truths, _ = random_case(seed)
    result = evaluate_coco(truths, [as_detections(t) for t in truths], "abc")
    if any((~t.difficult).any() for t in truths):
        assert (result.ap, result.ap50, result.ap75) == (1.0, 1.0, 1.0)
    else:
        assert np.isnan(result.ap)


def test_no_detections_score_zero():
    result = evaluate_coco([truth("1", [BOX], [0])], [], ["cat"])
    assert (result.ap, result.ap50, result.ap75) == (0.0, 0.0, 0.0)


def test_each_iou_threshold_counts_a_tenth():
    # IoU 0.72 passes 0.50, 0.55, 0.60, 0.65 and 0.70.
    near = detections_of("1", [[0, 0, 10, 7.2]], [1], [0])
    result = evaluate_coco([truth("1", [BOX], [0])], [near], ["cat"])
    assert result.ap == pytest.approx(5 / 10)
    assert (result.ap50, result.ap75) == (1.0, 0.0)


def test_difficult_objects_count_neither_way_however_often_found():
    truths = [truth("1", [BOX, FAR], [0, 0], [True, False])]
    often = [detections_of("1", [BOX, BOX, BOX, FAR], [4, 3, 2, 1], [0] * 4)]
    assert evaluate_coco(truths, often, ["cat"]).ap == 1.0


def test_difficult_object_overlaps_like_any_other():
    # A small part of a difficult object: a crowd would swallow it, an object does not.
    truths = [truth("1", [BOX, FAR], [0, 0], [True, False])]
    part = [detections_of("1", [[0, 0, 3, 3], FAR], [2, 1], [0, 0])]
    assert evaluate_coco(truths, part, ["cat"]).ap50 == 0.5


def test_class_without_objects_to_find_is_left_out():
    truths = [truth("1", [BOX, FAR], [0, 1], [False, True])]
    result = evaluate_coco(truths, [as_detections(truths[0])], ("cat", "dog"))
    assert result.ap == 1.0
    assert np.isnan(result.per_class).tolist() == [False, True]


def test_detections_beyond_a_hundred_of_a_class_are_not_read_and_counted(caplog):
    wrong = [[60, 60, 70 + n / 10, 70] for n in range(100)]
    crowd = detections_of("1", [*wrong, BOX], [*np.linspace(1, 0.5, 100), 0.1], [0] * 101)
    with caplog.at_level(logging.WARNING):
        result = evaluate_coco([truth("1", [BOX], [0])], [crowd], ["cat"])
    assert result.ap == 0.0
    assert "100 detections for each class of an image: 1 of 101" in caplog.text
    assert "best 100 detections for each class" in result.rule
    assert match_detections([truth("1", [BOX], [0])], [crowd], 1)[0].outcomes[-1] == 1


def test_evaluation_prints_nothing(capsys):
    evaluate_coco([truth("1", [BOX], [0])], [], ["cat"])
    assert capsys.readouterr().out == ""


def test_score_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="expected a finite score"):
        evaluate_coco(
            [truth("1", [], [])], [detections_of("1", [BOX], [float("nan")], [0])], ["cat"]
        )


def test_unknown_image_is_refused_by_name():
    with pytest.raises(DataError, match=r"^stray"):
        evaluate_coco([truth("1", [], [])], [detections_of("stray", [BOX], [1], [0])], ["cat"])
