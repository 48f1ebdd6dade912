import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.evaluation.confusion import best_threshold, confusion_matrix
from detection.evaluation.matching import match_detections
from tests.evaluation.cases import detections_of, random_case, truth

BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def test_each_pair_stands_in_the_row_of_the_object_and_the_column_of_the_detection():
    truths = [truth("1", [BOX, FAR, [20, 20, 30, 30]], [0, 1, 1])]
    guesses = [detections_of("1", [BOX, FAR, [80, 80, 90, 90]], [3, 2, 1], [0, 0, 1])]
    counts = confusion_matrix(truths, guesses, 2, threshold=0).counts
    assert counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_detections_below_the_threshold_are_not_looked_at():
    truths = [truth("1", [BOX], [0])]
    counts = confusion_matrix(
        truths, [detections_of("1", [BOX], [0.5], [0])], 1, threshold=0.6
    ).counts
    assert counts.tolist() == [[0, 1], [0, 0]]


def test_detections_on_difficult_or_taken_objects_stand_nowhere():
    truths = [truth("1", [BOX, FAR], [0, 0], [True, False])]
    guesses = [detections_of("1", [BOX, FAR, FAR], [3, 2, 1], [0, 0, 1])]
    assert confusion_matrix(truths, guesses, 2, threshold=0).counts.sum() == 1


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_every_object_that_is_not_difficult_stands_in_the_table_once(seed):
    truths, detections = random_case(seed)
    counts = confusion_matrix(truths, detections, 3, threshold=0.3).counts
    objects = np.concatenate([t.labels[~t.difficult].numpy() for t in truths])
    assert counts[:3].sum(axis=1).tolist() == np.bincount(objects, minlength=3).tolist()


def test_best_threshold_keeps_what_raises_f1():
    truths = [truth("1", [BOX, FAR], [0, 0])]
    guesses = [detections_of("1", [BOX, FAR, [80, 80, 90, 90]], [0.9, 0.6, 0.3], [0, 0, 0])]
    assert best_threshold(match_detections(truths, guesses, 1)) == np.float32(0.6)


def test_best_threshold_keeps_all_of_a_tie():
    truths = [truth("1", [BOX, FAR], [0, 0])]
    guesses = [detections_of("1", [BOX, [80, 80, 90, 90], FAR], [0.5, 0.5, 0.5], [0, 0, 0])]
    assert best_threshold(match_detections(truths, guesses, 1)) == 0.5


def test_best_threshold_of_nothing_right_is_infinite():
    assert best_threshold(match_detections([truth("1", [BOX], [0])], [], 1)) == np.inf
