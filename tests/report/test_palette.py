"""What is told apart by colour can be told apart, also by people who do not see red or green."""

import itertools

import numpy as np
import pytest

from detection.report import palette
from detection.report.palette import CLASSES, RUNS, STAGES, class_colour, ink_on, run_colour

MARKS = {
    "truth": palette.TRUTH,
    "right": palette.RIGHT,
    "wrong": palette.WRONG,
    "missed": palette.MISSED,
    "difficult": palette.DIFFICULT,
}
SIGHT = {
    "usual": np.eye(3),
    # Machado, Oliveira and Fernandes 2009, severity 1.
    "no red": np.array(
        [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]
    ),
    "no green": np.array(
        [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]
    ),
}
XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])


def lab(colour, sight="usual"):
    """CIE 1976 L*a*b* of an sRGB colour as some people see it."""
    srgb = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = XYZ @ np.clip(SIGHT[sight] @ linear, 0, 1) / XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(first, second, sight="usual"):
    return float(np.linalg.norm(lab(first, sight) - lab(second, sight)))


def test_white_and_black_are_a_hundred_apart():
    assert distance("#ffffff", "#000000") == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_no_class_looks_right_wrong_missed_or_annotated(label):
    assert min(distance(class_colour(label), mark) for mark in MARKS.values()) >= 30


@pytest.mark.parametrize("sight", SIGHT)
def test_what_became_of_a_box_can_be_seen_by_everybody(sight):
    apart = [distance(a, b, sight) for a, b in itertools.combinations(MARKS.values(), 2)]
    assert min(apart) >= 25


@pytest.mark.parametrize("sight", SIGHT)
def test_the_first_classes_can_be_seen_by_everybody(sight):
    apart = [distance(a, b, sight) for a, b in itertools.combinations(CLASSES[:6], 2)]
    assert min(apart) >= 20


def test_all_classes_differ():
    assert min(distance(a, b) for a, b in itertools.combinations(CLASSES, 2)) >= 20


def test_kinds_of_false_positives_that_touch_can_be_told_apart_by_everybody():
    kinds = list(palette.FALSE_POSITIVES.values())
    pairs = list(itertools.combinations(kinds, 2))
    assert min(distance(a, b, sight) for a, b in pairs for sight in SIGHT) >= 20


def test_stages_that_follow_each_other_differ():
    assert min(distance(a, b) for a, b in itertools.pairwise(STAGES.values())) >= 25
    assert distance(STAGES["resize"], STAGES["warp"]) >= 50


def test_colours_begin_again_after_the_last():
    count = len(RUNS)
    assert len({run_colour(index) for index in range(count)}) == count
    assert [run_colour(count + index) for index in range(count)] == list(RUNS)


@pytest.mark.parametrize("colour", [*CLASSES, *MARKS.values()])
def test_labels_can_be_read(colour):
    lightness = lab(colour)[0]
    assert abs(lightness - lab(ink_on(colour))[0]) >= 40
