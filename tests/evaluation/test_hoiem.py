import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.errors import ConfigError
from detection.evaluation import hoiem
from detection.evaluation.hoiem import (
    FALSE_POSITIVE_TYPES,
    MULTIPLES,
    RankedKinds,
    detection_shares,
    false_positive_shares,
    mean_of_classes,
    rank_false_positives,
    similar_classes,
    similar_groups,
)
from tests.evaluation.cases import detections_of, random_case, truth
from tests.reference import hoiem as naive

VOC = sorted({name for group in hoiem.VOC_SIMILAR for name in group})
CAT, DOG, BUS = range(3)
SIMILAR = similar_classes(["cat", "dog", "bus"], [["cat", "dog"]])
BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]
NAMES = ["right", *FALSE_POSITIVE_TYPES]


def kinds_of(boxes, scores, labels, objects, object_labels, difficult=None):
    ranked = rank_false_positives(
        [truth("1", objects, object_labels, difficult)],
        [detections_of("1", boxes, scores, labels)],
        SIMILAR,
    )
    return [[NAMES[kind + 1] for kind in kinds] for kinds in ranked.kinds]


@pytest.mark.parametrize(
    ("box", "object_labels", "kind"),
    [
        (BOX, [CAT, BUS], "right"),
        # 3 of 10 rows: IoU 30 / 100.
        ([0, 0, 10, 3], [CAT, BUS], "Loc"),
        # IoU 10 / 100, which is the bound itself, and a little less.
        ([0, 0, 10, 1], [CAT, BUS], "Loc"),
        ([0, 0, 9, 1], [CAT, BUS], "BG"),
        (BOX, [DOG, BUS], "Sim"),
        ([0, 0, 10, 3], [DOG, BUS], "Sim"),
        (FAR, [CAT, BUS], "Oth"),
        ([50, 50, 60, 51], [CAT, BUS], "Oth"),
        ([80, 80, 90, 90], [CAT, BUS], "BG"),
    ],
)
def test_a_cat_detection_is_of_one_kind(box, object_labels, kind):
    assert kinds_of([box], [1], [CAT], [BOX, FAR], object_labels)[CAT] == [kind]


def test_a_second_box_on_an_object_is_loc():
    assert kinds_of([BOX, BOX], [2, 1], [CAT, CAT], [BOX], [CAT])[CAT] == ["right", "Loc"]


def test_the_own_class_comes_before_a_similar_one_and_that_before_another():
    # The three objects share a place; the detection overlaps each by 30 / 100.
    part, here = [0, 0, 10, 3], [BOX, BOX, BOX]
    assert kinds_of([part], [1], [CAT], here, [BUS, DOG, CAT])[CAT] == ["Loc"]
    assert kinds_of([part], [1], [CAT], here, [BUS, DOG, DOG])[CAT] == ["Sim"]


def test_a_detection_of_a_difficult_object_is_left_out_and_one_beside_it_is_loc():
    found = [BOX, [0, 0, 10, 3], FAR]
    kinds = kinds_of(found, [3, 2, 1], [CAT] * 3, [BOX, FAR], [CAT, CAT], [True, False])
    assert kinds[CAT] == ["Loc", "right"]


def test_the_order_is_that_of_the_scores():
    boxes = [[80, 80, 90, 90], BOX, FAR]
    assert kinds_of(boxes, [1, 3, 2], [CAT] * 3, [BOX, FAR], [CAT, BUS])[CAT] == [
        "right",
        "Oth",
        "BG",
    ]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_kinds_are_those_of_a_loop_in_exact_arithmetic(seed):
    truths, detections = random_case(seed, distinct=True)
    ranked = rank_false_positives(truths, detections, SIMILAR)
    objects, found = as_rows(truths, detections)
    similar = {CAT: {DOG}, DOG: {CAT}, BUS: set()}
    for label in (CAT, DOG, BUS):
        expected = naive.kinds(objects, found, label, similar)
        assert [NAMES[kind + 1] for kind in ranked.kinds[label]] == expected
        assert ranked.num_objects[label] == sum(
            of == label and not hard for rows in objects for _, of, hard in rows
        )


def as_rows(truths, detections):
    """Return objects and detections as the reference takes them."""
    objects = [
        list(zip(t.boxes.int().tolist(), t.labels.tolist(), t.difficult.tolist(), strict=True))
        for t in truths
    ]
    found = [
        list(zip(d.scores.tolist(), d.boxes.int().tolist(), d.labels.tolist(), strict=True))
        for d in detections
    ]
    return objects, found


def test_shares_count_multiples_of_the_objects():
    ranked = RankedKinds(kinds=(np.array([-1, 0, 3, -1, 1, 2, 2, 3]),), num_objects=(4,))
    # The best 4 of 4 objects: two right, one Loc, one BG.
    assert detection_shares(ranked, 0, 1.0).tolist() == [2 / 4, 1 / 4, 0, 0, 1 / 4]
    assert detection_shares(ranked, 0, 0.25).tolist() == [1, 0, 0, 0, 0]
    assert detection_shares(ranked, 0, 8.0).tolist() == [2 / 8, 1 / 8, 1 / 8, 2 / 8, 2 / 8]
    # The first 4 of the 6 false positives: Loc, BG, Sim, Oth.
    assert false_positive_shares(ranked, 0, 1.0).tolist() == [1 / 4, 1 / 4, 1 / 4, 1 / 4]
    assert false_positive_shares(ranked, 0, 0.5).tolist() == [1 / 2, 0, 0, 1 / 2]
    assert false_positive_shares(ranked, 0, 8.0).tolist() == [1 / 6, 1 / 6, 2 / 6, 2 / 6]


def test_one_detection_at_least_is_looked_at():
    ranked = RankedKinds(kinds=(np.array([2, -1]),), num_objects=(1,))
    assert detection_shares(ranked, 0, min(MULTIPLES)).tolist() == [0, 0, 0, 1, 0]


@pytest.mark.parametrize(("kinds", "objects"), [([], 3), ([0, -1], 0), ([-1], 2)])
def test_nothing_to_divide_is_nan(kinds, objects):
    ranked = RankedKinds(kinds=(np.array(kinds, dtype=np.int64),), num_objects=(objects,))
    assert np.isnan(false_positive_shares(ranked, 0, 1.0)).all()


def test_unknown_classes_stay_out_of_a_mean():
    unknown = np.full(2, np.nan)
    assert mean_of_classes([np.array([1.0, 0.0]), unknown, np.array([0.5, 0.5])]).tolist() == [
        0.75,
        0.25,
    ]
    assert np.isnan(mean_of_classes([unknown])).all()


def test_of_vocs_classes_those_in_one_of_hoiems_sets_are_similar():
    similar = similar_classes(VOC)
    by_name = {name: {VOC[n] for n in np.flatnonzero(similar[VOC.index(name)])} for name in VOC}
    assert by_name["sofa"] == {"chair", "diningtable"}
    assert by_name["person"] == {"bird", "cat", "cow", "dog", "horse", "sheep"}
    assert by_name["cow"] == by_name["person"] - {"cow"} | {"person"}
    assert by_name["bird"] == by_name["person"] - {"bird"} | {"person", "aeroplane"}
    vehicles = {"bicycle", "boat", "bus", "car", "motorbike", "train"}
    assert by_name["aeroplane"] == vehicles | {"bird"}
    assert by_name["car"] == vehicles - {"car"} | {"aeroplane"}
    assert (similar == similar.T).all()


def test_some_of_vocs_classes_have_vocs_groups_and_others_none():
    assert similar_classes(["tvmonitor", "dog", "cat"]).tolist() == [
        [False, False, False],
        [False, False, True],
        [False, True, False],
    ]
    assert similar_groups(["tvmonitor", "dog", "bus"]) == {
        "vehicles": ("bus",),
        "animals": ("dog",),
    }
    assert not similar_classes(["cat", "dog", "wombat"]).any()
    assert similar_groups(["cat", "dog", "wombat"]) == {}


def test_given_groups_take_the_place_of_vocs():
    assert similar_classes(["cat", "dog", "bus"], [["cat", "bus"]]).tolist() == [
        [False, False, True],
        [False, False, False],
        [True, False, False],
    ]
    assert similar_groups(["cat", "dog", "bus"], [["cat", "bus"]]) == {"cat, bus": ("cat", "bus")}


def test_a_group_of_an_unknown_class_is_refused():
    message = r"^evaluation.similar_classes: expected classes of the data, got 'cow'; correct"
    with pytest.raises(ConfigError, match=message):
        similar_classes(["cat", "dog"], [["cat", "cow"]])
