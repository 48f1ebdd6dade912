import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.evaluation.error_types import ERROR_TYPES, error_types
from detection.evaluation.voc_ap import evaluate_voc
from tests.evaluation.cases import as_detections, detections_of, random_case, truth

BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]
PART = [0, 0, 10, 3]
"""IoU with BOX: 0.3."""


def table(boxes, scores, labels, objects=(BOX, FAR), object_labels=(0, 1)):
    return error_types(
        [truth("1", list(objects), list(object_labels))],
        [detections_of("1", boxes, scores, labels)],
        2,
    )


def only(kind, count=1):
    return {name: count if name == kind else 0 for name in ERROR_TYPES}


def test_perfect_detections_have_no_errors():
    result = table([BOX, FAR], [1, 1], [0, 1])
    assert result.ap == 1.0
    assert result.count == only("Miss", 0)
    assert set(result.delta.values()) == {0.0}


@pytest.mark.parametrize(
    ("extra", "label", "kind"),
    [
        (BOX, 1, "Cls"),
        (PART, 0, "Loc"),
        (PART, 1, "Both"),
        (BOX, 0, "Dupe"),
        ([80, 80, 90, 90], 0, "Bkg"),
        ([9, 0, 19, 10], 1, "Bkg"),
    ],
)
def test_wrong_detection_beside_right_ones_is_of_one_kind(extra, label, kind):
    # The wrong one comes between the two right ones of its class's list or before them.
    result = table([BOX, FAR, extra], [2, 2, 1], [0, 1, label])
    assert result.count == only(kind)


def test_wrong_detection_before_the_right_one_costs_its_kind_alone():
    result = table([[80, 80, 90, 90], BOX, FAR], [3, 2, 2], [0, 0, 1])
    # Class 0: wrong, right: area 1/2. Without the background detection: 1. Mean of two classes.
    assert result.ap == 0.75
    assert result.delta == {**dict.fromkeys(ERROR_TYPES, 0.0), "Bkg": 0.25}


def test_mended_class_moves_the_detection_to_the_objects_class():
    result = table([BOX, FAR], [2, 1], [1, 1])
    # Class 0 finds nothing, class 1: wrong, right. Mended: both classes perfect.
    assert result.ap == 0.25
    assert result.delta["Cls"] == 0.75
    assert result.count == only("Cls")


def test_mended_location_makes_only_the_best_detection_right():
    result = table([PART, PART, FAR], [3, 2, 1], [0, 0, 1])
    assert result.count == only("Loc", 2)
    assert result.delta["Loc"] == 0.5


def test_missed_object_is_one_that_nothing_came_near():
    result = table([BOX], [1], [0])
    assert result.count == only("Miss")
    # Class 1 keeps its place in the mean; without its only object it still finds nothing.
    assert result.delta["Miss"] == 0.0
    two = table([BOX], [1], [0], object_labels=(0, 0))
    assert (two.ap, two.delta["Miss"]) == (0.5, 0.5)


def test_object_that_a_wrong_class_came_near_is_not_missed():
    assert table([BOX, FAR], [2, 1], [1, 1]).count["Miss"] == 0


def test_no_detections_miss_everything():
    result = error_types([truth("1", [BOX, FAR], [0, 1], [False, True])], [], 2)
    assert result.count == only("Miss")


def test_detections_without_any_object_are_on_background():
    result = error_types([truth("1", [], [])], [detections_of("1", [BOX, BOX], [2, 1], [0, 1])], 2)
    assert result.count == only("Bkg", 2)
    assert np.isnan(result.ap)


def test_detections_on_difficult_objects_are_no_errors():
    hard = [truth("1", [BOX, FAR], [0, 0], [True, False])]
    result = error_types(hard, [detections_of("1", [BOX, BOX, FAR], [3, 2, 1], [0, 0, 0])], 1)
    assert result.count == only("Miss", 0)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_kinds_split_the_wrong_detections_and_start_from_the_area_map(seed):
    truths, detections = random_case(seed)
    result = error_types(truths, detections, 3)
    voc = evaluate_voc(truths, detections, "abc", rule="voc10")
    wrong = sum(len(c.recall) for c in voc.curves) - sum(
        round(c.recall[-1] * max(n, 1))
        for c, n in zip(voc.curves, voc.num_objects, strict=True)
        if len(c.recall)
    )
    assert sum(count for name, count in result.count.items() if name != "Miss") == wrong
    np.testing.assert_allclose(result.ap, voc.map, atol=1e-12)
    if not np.isnan(voc.map):
        drops = [result.delta[name] for name in ("Dupe", "Bkg", "Both", "Cls", "Loc")]
        assert min(drops) > -1e-12


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_ground_truth_fed_back_has_no_errors(seed):
    truths, _ = random_case(seed, max_objects=2)
    result = error_types(truths, [as_detections(t) for t in truths], 3)
    assert result.count == only("Miss", 0)
