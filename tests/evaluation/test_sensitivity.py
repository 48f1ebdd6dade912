from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.evaluation.sensitivity import (
    SUBSETS,
    Characteristic,
    fifths,
    normalised_ap,
    sensitivity,
)
from detection.evaluation.voc_ap import evaluate_voc
from tests.evaluation.cases import as_detections, detections_of, random_case, truth
from tests.evaluation.test_hoiem import as_rows
from tests.reference import hoiem as naive


def test_precision_is_that_of_a_class_with_so_many_objects():
    # Right, wrong, right of 2 objects, as though there were 6: recalls 1/2 and 1 are 3 and 6
    # right ones; precision 3/3 and 6/7.
    outcomes = np.array([1, -1, 1])
    assert normalised_ap(outcomes, 2, 6.0) == pytest.approx((1 + 6 / 7) / 2)
    assert normalised_ap(outcomes, 2, 2.0) == pytest.approx((1 + 2 / 3) / 2)


def test_ignored_detections_and_missed_objects():
    assert normalised_ap(np.array([0, 1, 0]), 4, 2.0) == 1 / 4
    assert normalised_ap(np.array([], dtype=int), 4, 2.0) == 0
    assert np.isnan(normalised_ap(np.array([-1]), 0, 2.0))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_normalised_to_its_own_number_it_is_the_area(seed):
    rng = np.random.default_rng(seed)
    outcomes = rng.choice([-1, 0, 1], 12)
    objects = int((outcomes == 1).sum()) + int(rng.integers(1, 4))
    words = {1: "right", -1: "wrong"}
    kept = [words[one] for one in outcomes.tolist() if one]
    expected = float(naive.normalised(kept, objects, Fraction(objects)))
    assert normalised_ap(outcomes, objects, float(objects)) == pytest.approx(expected, abs=1e-12)


def test_ten_values_are_cut_into_one_two_four_two_and_one():
    values = np.array([5.0, 1, 2, 10, 3, 4, 6, 7, 9, 8])
    assert fifths(values).tolist() == [2, 0, 1, 4, 1, 2, 2, 2, 3, 3]


def test_few_values_leave_the_ends_empty():
    # Bounds at the ranks 0, 1, 2 and 3 of three values: none, the first, the second, the third.
    assert fifths(np.array([7.0, 8.0, 9.0])).tolist() == [1, 2, 3]
    assert fifths(np.array([7.0])).tolist() == [2]
    assert fifths(np.zeros(0)).tolist() == []


def test_equal_values_stay_together_in_the_lowest():
    assert fifths(np.full(10, 3.0)).tolist() == [0] * 10


@given(st.lists(st.integers(1, 12), max_size=30))
def test_fifths_are_those_of_the_ranks(values):
    expected = [naive.fifth(value, values) for value in values]
    assert fifths(np.array(values, dtype=float)).tolist() == expected


def squares(*sides):
    """Objects of one class in images of their own."""
    return [truth(str(n), [[0, 0, side, side]], [0]) for n, side in enumerate(sides)]


def by_name(result):
    return {one.name: one for one in result.characteristics}


def test_an_object_outside_of_the_subset_is_neither_found_nor_missed():
    truths = squares(*range(10, 20))
    # Only the two smallest are found, and a wrong box comes between them.
    found = [as_detections(t) for t in truths[:2]]
    found[1] = replace(found[1], scores=torch.tensor([0.5]))
    found.append(detections_of("9", [[40, 40, 50, 50]], [0.7], [0]))
    result = sensitivity(truths, found, 1)
    # N is 0.15 x 10 = 1.5. XS: its one object is the first. S: of two, one is found after a
    # wrong box, with the recall 1/2 and the precision 0.75 / 1.75.
    size = by_name(result)["size"]
    assert result.normalised_to == 1.5
    assert size.num_objects.tolist() == [[1, 2, 4, 2, 1]]
    assert size.ap[0].tolist() == pytest.approx([1, 0.5 * 0.75 / 1.75, 0, 0, 0])
    # All: recall 1/10 with precision 1, 2/10 with 0.3 / 1.3.
    assert result.ap.tolist() == pytest.approx([0.1 + 0.1 * 0.3 / 1.3])


def test_aspect_ratios_go_from_tall_to_wide():
    truths = [truth(str(n), [[0, 0, 10 + n, 20]], [0]) for n in range(10)]
    found = [as_detections(truths[0])]
    shape = by_name(sensitivity(truths, found, 1))["aspect ratio"]
    assert shape.subsets[0] == "XT"
    assert shape.ap[0].tolist() == [1, 0, 0, 0, 0]


def flagged(name, *flags):
    return [
        replace(t, **{name: None if flag is None else torch.tensor([flag])})
        for t, flag in zip(squares(*([10] * len(flags))), flags, strict=True)
    ]


@pytest.mark.parametrize(
    ("field", "name"), [("truncated", "truncation"), ("occluded", "occlusion")]
)
def test_objects_with_and_without_a_flag_are_two_subsets_and_unknown_ones_none(field, name):
    truths = flagged(field, 0, 0, 1, -1, None)
    found = [as_detections(truths[n]) for n in (0, 2, 3, 4)]
    one = by_name(sensitivity(truths, found, 1))[name]
    assert one.num_objects.tolist() == [[2, 1]]
    assert one.ap.tolist() == [[0.5, 1.0]]


@pytest.mark.parametrize("flags", [(None, None), (0, 0), (1, -1)])
def test_a_flag_that_says_one_thing_only_is_left_out(flags):
    assert "truncation" not in by_name(sensitivity(flagged("truncated", *flags), [], 1))


def test_no_images_and_no_objects_have_no_numbers():
    assert np.isnan(sensitivity([], [], 2).ap).all()
    result = sensitivity([truth("1", [], [])], [detections_of("1", [[0, 0, 9, 9]], [1], [0])], 2)
    assert np.isnan(result.ap).all()
    assert result.characteristics == ()


def test_means_are_over_the_classes_that_know_and_extremes_over_those_with_two():
    ap = np.array([[0.2, 0.6, np.nan], [0.5, 0.1, 0.3], [np.nan, 0.9, np.nan]])
    one = Characteristic(name="x", subsets=("a", "b", "c"), ap=ap, num_objects=np.ones((3, 3), int))
    assert one.mean.tolist() == pytest.approx([0.7 / 2, 1.6 / 3, 0.3])
    assert one.lowest == pytest.approx((0.2 + 0.1) / 2)
    assert one.highest == pytest.approx((0.6 + 0.5) / 2)
    alone = replace(one, ap=ap[2:], num_objects=np.ones((1, 3), int))
    assert np.isnan([alone.lowest, alone.highest]).all()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_numbers_are_those_of_a_loop_in_exact_arithmetic(seed):
    truths, detections = random_case(seed, distinct=True)
    rng = np.random.default_rng(seed)
    truths = [
        replace(t, truncated=torch.from_numpy(rng.integers(-1, 2, len(t.labels)))) for t in truths
    ]
    result = sensitivity(truths, detections, 3)
    objects, found = as_rows(truths, detections)
    pseudo = Fraction(15, 100) * len(truths)
    for one in result.characteristics:
        for label in range(3):
            places = subsets_of(one.name, truths, objects, label)
            for subset in range(len(SUBSETS[one.name])):
                expected = naive.subset_ap(objects, found, label, places, subset, pseudo)
                got = one.ap[label, subset]
                assert np.isnan(got) if expected is None else got == pytest.approx(expected)


def subsets_of(name, truths, objects, label):
    """Return (image, place) -> subset of the objects of a class that count."""
    easy = {
        (image, place): box
        for image, rows in enumerate(objects)
        for place, (box, of, difficult) in enumerate(rows)
        if of == label and not difficult
    }
    if name == "truncation":
        flags = {key: int(truths[key[0]].truncated[key[1]]) for key in easy}
        return {key: flag if flag >= 0 else None for key, flag in flags.items()}
    value = {
        "size": lambda b: (b[2] - b[0]) * (b[3] - b[1]),
        "aspect ratio": lambda b: Fraction(b[2] - b[0], b[3] - b[1]),
    }[name]
    values = {key: value(box) for key, box in easy.items()}
    return {key: naive.fifth(one, list(values.values())) for key, one in values.items()}


def test_the_ground_truth_itself_is_found_in_every_subset():
    truths, _ = random_case(3, max_objects=2, difficult=0.0)
    result = sensitivity(truths, [as_detections(t) for t in truths], 3)
    assert evaluate_voc(truths, [as_detections(t) for t in truths], "abc").map == 1
    assert np.nanmin(result.ap) == 1
    assert {float(np.nanmin(one.ap)) for one in result.characteristics} == {1.0}
