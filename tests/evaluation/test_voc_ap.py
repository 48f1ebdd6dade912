import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detection.errors import DataError
from detection.evaluation.matching import align, match_detections, pairwise_iou
from detection.evaluation.voc_ap import RECALL_THRESHOLDS, evaluate_voc, score_matches
from detection.structures import Detections
from tests.evaluation.cases import as_detections, detections_of, random_case, truth
from tests.reference import voc_ap as devkit

BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]
HALF = [0, 0, 10, 5]
"""IoU with BOX: 50 / 100, exactly one half."""

seeds = st.integers(0, 2**32 - 1)


def average(truths, detections, rule="voc10", names=("cat",)):
    return evaluate_voc(truths, detections, names, rule=rule).ap.tolist()


def devkit_ap(truths, detections, label, average_of):
    """The result of the loop version, on 1-based inclusive corners."""
    inclusive = np.array([1, 1, 0, 0])
    objects = {
        t.image_id: [
            (box + inclusive, bool(hard))
            for box, name, hard in zip(t.boxes.numpy(), t.labels, t.difficult, strict=True)
            if name == label
        ]
        for t in truths
    }
    rows = [
        (float(score), d.image_id, box + inclusive)
        for d in detections
        for box, score, name in zip(d.boxes.numpy(), d.scores, d.labels, strict=True)
        if name == label
    ]
    points = devkit.recall_and_precision(objects, rows, 0.5)
    return float("nan") if points is None else average_of(points)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3]))
def test_average_precision_equals_the_devkits_rules(seed, difficult):
    truths, detections = random_case(seed, difficult=difficult)
    for rule, average_of in (("voc07", devkit.eleven_point_ap), ("voc10", devkit.area_ap)):
        expected = [devkit_ap(truths, detections, label, average_of) for label in range(3)]
        got = evaluate_voc(truths, detections, ("a", "b", "c"), rule=rule).ap
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_ground_truth_fed_back_scores_exactly_one(seed):
    truths, _ = random_case(seed)
    for rule in ("voc07", "voc10"):
        result = evaluate_voc(truths, [as_detections(t) for t in truths], "abc", rule=rule)
        known = result.ap[~np.isnan(result.ap)]
        assert (known == 1).all()
        assert result.map == 1 if len(known) else np.isnan(result.map)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_order_in_which_images_are_detected_does_not_matter(seed, random):
    truths, detections = random_case(seed)
    shuffled = random.sample(detections, len(detections))
    expected = evaluate_voc(truths, detections, "abc").ap
    np.testing.assert_array_equal(evaluate_voc(truths, shuffled, "abc").ap, expected)


def test_iou_of_exactly_one_half_is_right():
    assert average([truth("1", [BOX], [0])], [detections_of("1", [HALF], [1], [0])]) == [1.0]


def test_iou_just_below_one_half_is_wrong():
    assert average([truth("1", [BOX], [0])], [detections_of("1", [[0, 0, 10, 4]], [1], [0])]) == [
        0.0
    ]


def test_second_detection_of_an_object_is_wrong():
    truths = [truth("1", [BOX, FAR], [0, 0])]
    twice = [detections_of("1", [BOX, BOX, FAR], [3, 2, 1], [0, 0, 0])]
    # Precision 1 up to recall 1/2, then 2 right of 3.
    assert average(truths, twice) == [pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)]


def test_taken_object_is_not_replaced_by_the_second_best():
    near = [0, 0, 10, 8]
    truths = [truth("1", [BOX, near], [0, 0])]
    twice = [detections_of("1", [BOX, [0, 0, 10, 9.5]], [2, 1], [0, 0])]
    # The second one is nearest to BOX (0.95 against 0.84), which is taken: half the objects found.
    assert average(truths, twice) == [0.5]


def test_difficult_objects_count_neither_way_however_often_found():
    truths = [truth("1", [BOX, FAR], [0, 0], [True, False])]
    often = [detections_of("1", [BOX, BOX, BOX, FAR], [4, 3, 2, 1], [0] * 4)]
    assert average(truths, often) == [1.0]


def test_difficult_object_that_is_nearest_takes_the_detection():
    truths = [truth("1", [BOX, [0, 0, 10, 8]], [0, 0], [True, False])]
    assert average(truths, [detections_of("1", [BOX], [1], [0])]) == [0.0]


def test_detection_of_another_class_is_wrong():
    truths = [truth("1", [BOX, FAR], [0, 1])]
    swapped = [detections_of("1", [BOX, FAR], [1, 1], [1, 0])]
    assert average(truths, swapped, names=("cat", "dog")) == [0.0, 0.0]


def test_image_without_detections_lowers_recall():
    truths = [truth("1", [BOX], [0]), truth("2", [BOX], [0])]
    assert average(truths, [detections_of("1", [BOX], [1], [0])]) == [0.5]


def test_detection_in_an_image_without_objects_is_wrong():
    truths = [truth("1", [BOX], [0]), truth("2", [], [])]
    both = [detections_of("2", [BOX], [2], [0]), detections_of("1", [BOX], [1], [0])]
    assert average(truths, both) == [0.5]


def test_no_detections_at_all_score_zero():
    assert average([truth("1", [BOX], [0])], []) == [0.0]


def test_equal_scores_are_taken_in_the_order_of_images_then_boxes():
    truths = [truth("1", [BOX], [0]), truth("2", [BOX], [0])]
    tied = [detections_of("2", [FAR, BOX], [1, 1], [0, 0]), detections_of("1", [BOX], [1], [0])]
    # Right (image 1), wrong, right: 1/2 * 1 + 1/2 * 2/3.
    assert average(truths, tied) == [pytest.approx(5 / 6)]


def test_classes_without_objects_to_find_are_left_out_and_named():
    truths = [truth("1", [BOX, FAR], [0, 1], [False, True])]
    right = [detections_of("1", [BOX], [1], [0])]
    result = evaluate_voc(truths, right, ("cat", "dog", "bird"))
    assert result.map == 1.0
    assert result.classes_without_ground_truth == ("dog", "bird")
    assert np.isnan(result.ap).tolist() == [False, True, True]
    assert result.num_objects == (1, 0, 0)
    assert result.num_difficult == (0, 1, 0)


def test_eleven_points_by_hand():
    truths = [truth("1", [BOX, FAR], [0, 0])]
    # Right, wrong, wrong: recall 1/2 at precision 1, so 6 of the 11 points (0 to 0.5).
    one = [detections_of("1", [BOX, [80, 80, 90, 90], [70, 0, 80, 9]], [3, 2, 1], [0, 0, 0])]
    assert average(truths, one, "voc07") == [pytest.approx(6 / 11)]


@pytest.mark.parametrize(("tenths", "points"), [(3, 3), (5, 6), (6, 6), (7, 7), (9, 10)])
def test_recall_thresholds_are_multiples_of_one_tenth_in_floating_point(tenths, points):
    boxes = [[20 * n, 0, 20 * n + 10, 10] for n in range(10)]
    truths = [truth("1", boxes, [0] * 10, size=(100, 200))]
    some = [detections_of("1", boxes[:tenths], range(tenths, 0, -1), [0] * tenths)]
    # 3/10 < 3 * 0.1 in float64: that point is not reached.
    assert average(truths, some, "voc07") == [pytest.approx(points / 11)]
    assert RECALL_THRESHOLDS.tolist() == np.arange(0.0, 1.1, 0.1).tolist()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("voc07", "VOC2007: mean precision at 11 recalls"),
        ("voc10", "VOC2010+: area under the monotone precision-recall curve"),
    ],
)
def test_rule_is_said_in_words(rule, words):
    result = evaluate_voc([truth("1", [BOX], [0])], [], ["cat"], iou=0.7, rule=rule)
    assert result.describe() == (
        f"{words}, IoU >= 0.7, difficult objects ignored, classes without objects left out of the "
        "mean"
    )


@pytest.mark.parametrize(("iou", "expected"), [(0.4, 1.0), (0.5, 1.0), (0.6, 0.0)])
def test_an_overlap_of_one_half_is_right_up_to_one_half(iou, expected):
    once = [detections_of("1", [HALF], [1], [0])]
    result = evaluate_voc([truth("1", [BOX], [0])], once, ["cat"], iou=iou)
    assert result.ap.tolist() == [expected]
    assert result.iou == iou


def test_unless_told_otherwise_the_rule_is_that_of_2007_at_one_half():
    """The papers' numbers; half the objects found are 6 of 11 points, or an area of 1/2."""
    truths, once = [truth("1", [BOX, FAR], [0, 0])], [detections_of("1", [HALF], [1], [0])]
    scored = score_matches(match_detections(truths, once, 1), ["cat"])
    for result in (scored, evaluate_voc(truths, once, ["cat"])):
        assert (result.rule, result.iou) == ("voc07", 0.5)
        assert result.ap.tolist() == [pytest.approx(6 / 11)]


def test_a_split_without_any_object_to_find_has_no_mean():
    truths = [truth("1", [BOX], [0], [True]), truth("2", [], [])]
    result = evaluate_voc(truths, [detections_of("1", [BOX], [1], [0])], ("cat", "dog"))
    assert math.isnan(result.map)
    assert result.num_images == 2
    assert result.classes_without_ground_truth == ("cat", "dog")


def test_without_classes_there_is_nothing_to_score():
    result = score_matches([], [])
    assert math.isnan(result.map)
    assert (result.num_images, result.curves, result.num_objects) == (0, (), ())
    assert result.ap.shape == (0,)


@pytest.mark.parametrize("names", [[], ["cat", "dog"]])
def test_each_class_has_its_matches(names):
    matches = match_detections([truth("1", [BOX], [0])], [], 1)
    with pytest.raises(ValueError, match="argument"):
        score_matches(matches, names)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_score_that_is_not_finite_is_refused(value):
    with pytest.raises(DataError, match=r"^1: detection 1: expected a finite score, got"):
        average([truth("1", [BOX], [0])], [detections_of("1", [BOX, BOX], [1, value], [0, 0])])


def test_box_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match=r"^1: detection 0: expected a finite box"):
        average([truth("1", [BOX], [0])], [detections_of("1", [[0, 0, float("nan"), 1]], [1], [0])])


def test_values_that_the_suppression_left_out_are_refused():
    found_with_nan = replace(detections_of("1", [BOX], [1], [0]), num_unusable=2)
    with pytest.raises(DataError, match=r"^1: expected finite scores and boxes, got 2 that are"):
        average([truth("1", [BOX], [0])], [found_with_nan])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_matches_with_a_score_that_is_not_finite_are_refused(value):
    (match,) = match_detections([truth("1", [BOX], [0])], [detections_of("1", [BOX], [1], [0])], 1)
    broken = replace(match, scores=np.array([value]))
    with pytest.raises(DataError, match=r"^class 'cat': expected finite scores"):
        score_matches([broken], ["cat"])


@pytest.mark.parametrize("label", [-1, 1])
def test_label_outside_the_classes_is_refused(label):
    with pytest.raises(DataError, match=r"^1: detection 0: expected a label in 0\.\.0, got"):
        average([truth("1", [BOX], [0])], [detections_of("1", [BOX], [1], [label])])
    with pytest.raises(DataError, match=r"^1: object 0: expected a label in 0\.\.0, got"):
        average([truth("1", [BOX], [label])], [])


def test_unknown_image_is_refused_by_name():
    with pytest.raises(DataError, match=r"^stray: expected detections of images of the split"):
        average([truth("1", [BOX], [0])], [detections_of("stray", [BOX], [1], [0])])


def test_repeated_image_is_refused():
    once = detections_of("1", [BOX], [1], [0])
    with pytest.raises(DataError, match=r"^1: expected one set of detections, got two"):
        average([truth("1", [BOX], [0])], [once, once])
    with pytest.raises(DataError, match="expected each image once"):
        average([truth("1", [BOX], [0])] * 2, [])


def test_alignment_follows_the_ground_truth():
    truths = [truth("1", [], []), truth("2", [], [])]
    aligned = align(truths, [detections_of("2", [BOX], [1], [0])], 1)
    assert [(d.image_id, len(d.scores)) for d in aligned] == [("1", 0), ("2", 1)]


def test_iou_equals_the_devkits_formula_on_inclusive_corners():
    rng = np.random.default_rng(0)
    one_larger = np.array([0, 0, 1, 1])
    first = np.sort(rng.integers(0, 50, (20, 2, 2)), axis=1).reshape(20, 4) + one_larger
    second = first[rng.permutation(20)]
    inclusive = np.array([1, 1, 0, 0])
    expected = [
        [devkit.overlap_with_plus_one(a + inclusive, b + inclusive) for b in second] for a in first
    ]
    np.testing.assert_array_equal(pairwise_iou(first.astype(float), second.astype(float)), expected)


def test_matches_name_the_detection_they_judge():
    truths = [truth("1", [BOX], [1]), truth("2", [FAR], [1])]
    guesses = [
        detections_of("2", [BOX, FAR], [0.5, 0.7], [0, 1]),
        detections_of("1", [FAR], [0.9], [1]),
    ]
    match = match_detections(truths, guesses, 2)[1]
    assert match.images.tolist() == [0, 1]
    assert match.boxes.tolist() == [0, 1]
    assert match.outcomes.tolist() == [-1, 1]


def test_two_hundred_full_images_take_a_few_seconds_at_most():
    generator = torch.Generator().manual_seed(0)
    truths, detections = [], []
    for index in range(200):
        corner = torch.rand(2000, 2, generator=generator) * 400
        boxes = torch.cat([corner, corner + 50], dim=1)
        labels = torch.arange(2000) % 20
        scores = torch.rand(2000, generator=generator)
        truths.append(truth(str(index), boxes[:3].tolist(), labels[:3].tolist()))
        detections.append(
            Detections(image_id=str(index), boxes=boxes, scores=scores, labels=labels)
        )
    start = time.process_time()
    evaluate_voc(truths, detections, [str(n) for n in range(20)])
    assert time.process_time() - start < 10


def with_scores(detections, scores):
    return Detections(
        image_id=detections.image_id,
        boxes=detections.boxes,
        scores=scores,
        labels=detections.labels,
    )


@settings(max_examples=25)
@given(seeds, st.sampled_from(["voc07", "voc10"]))
def test_average_precision_lies_between_0_and_1_and_so_does_each_curve(seed, rule):
    truths, detections = random_case(seed)
    result = evaluate_voc(truths, detections, "abc", rule=rule)
    known = result.ap[~np.isnan(result.ap)]
    assert ((known >= 0) & (known <= 1)).all()
    for curve in result.curves:
        assert (np.diff(curve.recall) >= 0).all()
        assert (np.diff(curve.scores) <= 0).all()
        assert ((curve.precision >= 0) & (curve.precision <= 1)).all()


@settings(max_examples=25)
@given(seeds, st.sampled_from(["voc07", "voc10"]))
def test_only_the_order_of_the_scores_counts(seed, rule):
    truths, detections = random_case(seed)
    other = [
        with_scores(detections_of, detections_of.scores * 4 - 7) for detections_of in detections
    ]
    expected = evaluate_voc(truths, detections, "abc", rule=rule).ap
    np.testing.assert_array_equal(evaluate_voc(truths, other, "abc", rule=rule).ap, expected)


@settings(max_examples=25)
@example(4096, "voc10")
@given(seeds, st.sampled_from(["voc07", "voc10"]))
def test_a_wrong_detection_below_all_others_changes_nothing_and_above_all_others_costs(seed, rule):
    """Up to rounding: a longer curve's steps are added in another order."""
    truths, detections = random_case(seed)
    expected = evaluate_voc(truths, detections, "abc", rule=rule).ap
    aside = truth("aside", [], [])
    below, above = (
        evaluate_voc(
            [*truths, aside],
            [*detections, detections_of("aside", [BOX] * 3, [score] * 3, [0, 1, 2])],
            "abc",
            rule=rule,
        ).ap
        for score in (-1.0, 2.0)
    )
    np.testing.assert_allclose(below, expected, rtol=1e-12)
    np.testing.assert_array_equal(np.isnan(above), np.isnan(expected))
    known = ~np.isnan(expected)
    assert (above[known] <= expected[known] + 1e-12).all()


@settings(max_examples=25)
@given(seeds, st.sampled_from(["voc07", "voc10"]))
def test_a_higher_overlap_is_never_easier_where_objects_lie_apart(seed, rule):
    """With neighbours, a claim that fails for one object could leave it to a better one."""
    rng = np.random.default_rng(seed)
    places = [[40 * n, 0, 40 * n + 20, 20] for n in range(4)]
    truths = [truth("1", places, [0] * 4, size=(100, 200))]
    guesses = np.array(places, dtype=np.float32) + rng.integers(-6, 7, (4, 4))
    once = [detections_of("1", guesses, rng.permutation(4), [0] * 4)]
    scores = [evaluate_voc(truths, once, "a", rule=rule, iou=iou).map for iou in (0.3, 0.5, 0.7)]
    assert scores == sorted(scores, reverse=True)


@settings(max_examples=25)
@given(seeds)
def test_renaming_the_classes_permutes_their_average_precisions(seed):
    truths, detections = random_case(seed)
    order = torch.tensor([2, 0, 1])
    other_truths = [
        truth(t.image_id, t.boxes.tolist(), order[t.labels].tolist(), t.difficult.tolist())
        for t in truths
    ]
    other = [
        detections_of(d.image_id, d.boxes.tolist(), d.scores.tolist(), order[d.labels].tolist())
        for d in detections
    ]
    expected = evaluate_voc(truths, detections, "abc").ap
    np.testing.assert_array_equal(
        evaluate_voc(other_truths, other, "abc").ap[order.numpy()], expected
    )


@settings(max_examples=25)
@given(seeds)
def test_every_detection_has_one_outcome_and_no_object_is_found_twice(seed):
    truths, detections = random_case(seed)
    matches = match_detections(truths, detections, 3)
    assert sum(len(m.scores) for m in matches) == sum(len(d.scores) for d in detections)
    for match in matches:
        assert set(match.outcomes.tolist()) <= {-1, 0, 1}
        assert (match.outcomes == 1).sum() <= match.num_objects
        by_image = np.bincount(match.images[match.outcomes == 1], minlength=len(truths))
        assert (by_image <= match.objects).all()
