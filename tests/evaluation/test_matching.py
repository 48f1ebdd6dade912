from dataclasses import replace

import numpy as np
import pytest

from detection.errors import DataError
from detection.evaluation.matching import (
    best_object,
    box_area,
    match_detections,
    pairwise_intersection,
    pairwise_iou,
)
from tests.evaluation.cases import detections_of, truth

BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]
NEAR = [0, 0, 10, 8]
"""IoU with BOX: 80 / 100."""


def outcomes(truths, detections, **options):
    (match,) = match_detections(truths, detections, 1, **options)
    return match.outcomes.tolist()


def test_areas_and_intersections_by_hand():
    boxes = np.array([[1, 2, 4, 7], [0, 0, 3, 3], [9, 9, 12, 10], [2, 2, 2, 9]], dtype=float)
    assert box_area(boxes).tolist() == [15, 9, 3, 0]
    # With the first: x from 1 to 3 and y from 2 to 3; apart on both axes; no width.
    assert pairwise_intersection(boxes[:1], boxes).tolist() == [[15, 2, 0, 0]]
    assert pairwise_iou(boxes[:1], boxes).tolist() == [[1, 2 / (15 + 9 - 2), 0, 0]]


def test_boxes_that_touch_or_lie_apart_on_one_axis_share_nothing():
    beside, below = [10, 0, 20, 10], [0, 11, 10, 20]
    box = np.array([BOX], dtype=float)
    assert pairwise_intersection(box, np.array([beside, below], dtype=float)).tolist() == [[0, 0]]


def test_boxes_without_area_overlap_nothing():
    point = np.array([[3, 3, 3, 3]], dtype=float)
    assert pairwise_iou(point, point).tolist() == [[0]]


def test_a_small_union_is_divided_by():
    half, quarter = np.array([[0, 0, 0.5, 1]]), np.array([[0, 0, 0.25, 1]])
    assert pairwise_iou(half, quarter).tolist() == [[0.5]]


def test_the_nearest_object_of_its_own_class_is_the_best():
    objects = truth("1", [FAR, NEAR, BOX], [0, 0, 1], [True, True, False])
    guesses = detections_of("1", [BOX, FAR, BOX], [3, 2, 1], [0, 0, 1])
    best, overlap = best_object(guesses, objects)
    assert best.tolist() == [1, 0, 2]
    assert overlap.tolist() == [0.8, 1, 1]


def test_of_equally_near_objects_the_first_is_the_best():
    best, overlap = best_object(
        detections_of("1", [BOX], [1], [0]), truth("1", [NEAR, NEAR], [0, 0])
    )
    assert (best.tolist(), overlap.tolist()) == ([0], [0.8])


@pytest.mark.parametrize("labels", [[], [1]])
def test_without_an_object_of_the_class_the_overlap_is_minus_one(labels):
    guesses = detections_of("1", [BOX, FAR], [2, 1], [0, 0])
    best, overlap = best_object(guesses, truth("1", [BOX] * len(labels), labels))
    assert best.tolist() == [0, 0]
    assert overlap.tolist() == [-1, -1]
    assert best.dtype == np.int64


def test_without_detections_there_is_no_best():
    best, overlap = best_object(detections_of("1", [], [], []), truth("1", [BOX], [0]))
    assert (best.shape, overlap.shape) == ((0,), (0,))


def test_a_detection_of_nothing_is_wrong_whatever_the_overlap_asked_for():
    """An IoU of 0 is enough for a claim, no object of the class is not."""
    truths = [truth("1", [FAR], [0]), truth("2", [], [])]
    guesses = [detections_of("1", [BOX], [2], [0]), detections_of("2", [BOX], [1], [0])]
    assert outcomes(truths, guesses, iou=0.0) == [1, -1]
    assert outcomes(truths, guesses) == [-1, -1]


def test_objects_of_different_images_are_claimed_apart():
    """Two objects in the first image: the one of the second has number 2 of all."""
    truths = [truth("1", [BOX, FAR], [0, 0]), truth("2", [FAR, BOX], [0, 0], [False, True])]
    guesses = [
        detections_of("1", [FAR, BOX], [0.9, 0.1], [0, 0]),
        detections_of("2", [FAR, FAR, BOX], [0.8, 0.7, 0.6], [0, 0, 0]),
    ]
    # 0.9 right, 0.8 right, 0.7 again the same, 0.6 difficult, 0.1 right
    assert outcomes(truths, guesses) == [1, 1, -1, 0, 1]


def test_matches_of_each_class_count_its_objects_by_image():
    truths = [
        truth("1", [BOX, FAR, NEAR], [1, 0, 1], [False, False, True]),
        truth("2", [BOX, FAR], [1, 1], [True, False]),
    ]
    guesses = [
        detections_of("2", [FAR, BOX], [0.5, 0.25], [1, 0]),
        detections_of("1", [BOX], [0.75], [1]),
    ]
    cat, dog, bird = match_detections(truths, guesses, 3)
    assert [match.objects.tolist() for match in (cat, dog, bird)] == [[1, 0], [1, 1], [0, 0]]
    assert [match.difficult for match in (cat, dog, bird)] == [0, 2, 0]
    assert [match.num_objects for match in (cat, dog, bird)] == [1, 2, 0]
    assert (dog.scores.tolist(), dog.images.tolist(), dog.boxes.tolist()) == (
        [0.75, 0.5],
        [0, 1],
        [0, 0],
    )
    assert (cat.scores.tolist(), cat.images.tolist(), cat.boxes.tolist()) == ([0.25], [1], [1])
    assert [len(part) for part in (bird.scores, bird.images, bird.boxes, bird.outcomes)] == [0] * 4


def test_no_images_have_no_matches():
    (match,) = match_detections([], [], 1)
    assert (match.num_objects, match.difficult, len(match.scores)) == (0, 0, 0)
    assert [match.scores.dtype, match.images.dtype] == [np.float64, np.int64]
    assert match.outcomes.dtype == np.int8  # of COCO's 4 million detections too
    assert match_detections([], [], 0) == ()


def message(truths, detections, num_classes=1):
    with pytest.raises(DataError) as caught:
        match_detections(truths, detections, num_classes)
    return str(caught.value)


NAN, INF = float("nan"), float("inf")
ONE = truth("1", [BOX], [0])
REMEDY = "the model's weights or features hold NaN or infinity"


@pytest.mark.parametrize(
    ("truths", "detections", "said"),
    [
        ([ONE] * 3, [], "ground truth: expected each image once, got 2 repeated"),
        (
            [ONE],
            [detections_of("2", [BOX], [1], [0])],
            "2: expected detections of images of the split, got an image without ground truth; "
            "evaluate on the split that was detected",
        ),
        (
            [ONE],
            [detections_of("1", [BOX], [1], [0])] * 2,
            "1: expected one set of detections, got two",
        ),
        (
            [ONE],
            [replace(detections_of("1", [BOX], [1], [0]), num_unusable=2)],
            f"1: expected finite scores and boxes, got 2 that are not; {REMEDY}",
        ),
        (
            [ONE],
            [detections_of("1", [BOX] * 3, [1, -INF, NAN], [0, 0, 0])],
            f"1: detection 1: expected a finite score, got -inf; {REMEDY}",
        ),
        (
            [ONE],
            [detections_of("1", [BOX, [0, 0, 1, INF]], [1, 2], [0, 0])],
            f"1: detection 1: expected a finite box, got [0.0, 0.0, 1.0, inf]; {REMEDY}",
        ),
        (
            [ONE],
            [detections_of("1", [BOX, BOX], [1, 1], [0, 1])],
            "1: detection 1: expected a label in 0..0, got 1; the class lists differ",
        ),
        (
            [truth("1", [BOX, FAR], [0, -1])],
            [],
            "1: object 1: expected a label in 0..0, got -1; the class lists differ",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused_in_one_line(truths, detections, said):
    assert message(truths, detections) == said
