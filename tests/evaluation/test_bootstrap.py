import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.evaluation.bootstrap import (
    bootstrap_difference,
    bootstrap_map,
    draw_counts,
    resampled_maps,
    weighted_eleven_points,
)
from detection.evaluation.matching import match_detections
from detection.evaluation.voc_ap import evaluate_voc, mean_of_known
from detection.structures import Detections, GroundTruth
from tests.evaluation.cases import as_detections, random_case, truth


def repeated(values, counts):
    """Each image's value as often as it was drawn, under names that sort as the originals do."""
    copies = []
    for value, count in zip(values, counts, strict=True):
        for copy in range(int(count)):
            fields = {name: getattr(value, name) for name in value.__slots__}
            copies.append(type(value)(**{**fields, "image_id": f"{value.image_id}-{copy}"}))
    return copies


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_weighted_precision_equals_evaluating_the_drawn_images(seed):
    truths, detections = random_case(seed, distinct=True)
    matches = match_detections(truths, detections, 3)
    weights = draw_counts(len(truths), 3, seed)
    got = np.stack([weighted_eleven_points(match, weights) for match in matches])
    for column in range(3):
        drawn = repeated(truths, weights[:, column]), repeated(detections, weights[:, column])
        expected = evaluate_voc(*drawn, "abc").ap
        np.testing.assert_allclose(got[:, column], expected, atol=1e-12)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_every_image_once_gives_the_plain_average_precision(seed):
    truths, detections = random_case(seed)
    matches = match_detections(truths, detections, 3)
    got = [weighted_eleven_points(match, np.ones((len(truths), 1)))[0] for match in matches]
    np.testing.assert_allclose(got, evaluate_voc(truths, detections, "abc").ap, atol=1e-12)


def test_interval_holds_the_map_and_is_the_same_for_the_same_seed():
    truths, detections = random_case(1, num_images=60)
    matches = match_detections(truths, detections, 3)
    low, high = bootstrap_map(matches, resamplings=200, seed=5)
    assert low < mean_of_known(evaluate_voc(truths, detections, "abc").ap) < high
    assert (low, high) == bootstrap_map(matches, resamplings=200, seed=5)
    assert (low, high) != bootstrap_map(matches, resamplings=200, seed=6)


def test_wider_confidence_gives_a_wider_interval():
    matches = match_detections(*random_case(2, num_images=40), 3)
    inner = bootstrap_map(matches, resamplings=300, confidence=0.5)
    outer = bootstrap_map(matches, resamplings=300, confidence=0.99)
    assert outer[0] < inner[0] < inner[1] < outer[1]


def test_perfect_detections_have_an_interval_without_width():
    truths, _ = random_case(3, num_images=30)
    matches = match_detections(truths, [as_detections(t) for t in truths], 3)
    assert bootstrap_map(matches, resamplings=50) == (1.0, 1.0)


def test_interval_without_images_or_objects_is_unknown():
    assert np.isnan(bootstrap_map((), resamplings=10)).all()
    empty = match_detections([truth("1", [], [])], [Detections.none("1")], 2)
    assert np.isnan(bootstrap_map(empty, resamplings=10)).all()


def test_class_that_was_not_drawn_is_left_out_of_that_resampling():
    box = [[0, 0, 10, 10]]
    truths = [truth("1", box, [0]), truth("2", box, [1])]
    matches = match_detections(truths, [as_detections(truths[0])], 2)
    # Both classes drawn: (1 + 0) / 2. Only the first image: 1. Only the second: 0.
    assert set(resampled_maps(matches, resamplings=100, seed=0)) == {0.0, 0.5, 1.0}


def test_as_many_images_are_drawn_as_there_are():
    assert (draw_counts(7, 50, 0).sum(axis=0) == 7).all()


def test_ground_truth_type_is_what_the_helper_copies():
    assert isinstance(repeated([truth("1", [], [])], [2])[1], GroundTruth)


def test_a_paired_interval_is_narrower_than_two_intervals_apart():
    truths, detections = random_case(3, num_images=60)
    fewer = [
        type(d)(image_id=d.image_id, boxes=d.boxes, scores=-d.scores, labels=d.labels)
        if index % 8 == 0
        else d
        for index, d in enumerate(detections)
    ]
    first, second = (match_detections(truths, found, 3) for found in (detections, fewer))
    low, high = bootstrap_difference(first, second, resamplings=300)
    alone = [bootstrap_map(matches, resamplings=300) for matches in (first, second)]
    assert high - low < min(top - bottom for bottom, top in alone)
    difference = np.subtract(*(np.nanmean(resampled(m)) for m in (second, first)))
    assert low <= difference <= high


def resampled(matches):
    return resampled_maps(matches, resamplings=300, seed=0)


def test_swapping_the_detectors_turns_the_interval_round():
    truths, detections = random_case(4, num_images=30)
    matches = match_detections(truths, detections, 3)
    nothing = match_detections(truths, [], 3)
    low, high = bootstrap_difference(matches, nothing, resamplings=100)
    turned = bootstrap_difference(nothing, matches, resamplings=100)
    assert turned == pytest.approx((-high, -low))
    assert high < 0
