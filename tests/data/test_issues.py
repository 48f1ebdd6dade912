import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.data.issues import AnnotationIssue, Rules, is_fraction, nearest, settle_box, stop_at
from detection.errors import DataError

SIZE = (40, 60)


def settled(corners, rules=None, *, one_based=True):
    corners = tuple(map(float, corners))
    return settle_box(corners, SIZE, "a.xml: object 1", rules or Rules(), one_based=one_based)


def issue(action, location="a.xml: object 1"):
    return AnnotationIssue(kind="k", location=location, what="expected x, got y", action=action)


@pytest.mark.parametrize(
    ("corners", "one_based", "box", "kind"),
    [
        ((1, 1, 60, 40), True, (0, 0, 60, 40), None),
        ((5, 6, 25, 16), False, (5, 6, 25, 16), None),
        ((0, 1, 60, 40), True, (0, 0, 60, 40), "corner at 0"),
        ((1, 1, 61, 40), True, (0, 0, 60, 40), "clipped box"),
        ((0, 0, 70, 40), False, (0, 0, 60, 40), "clipped box"),
        ((61, 1, 70, 40), True, None, "box outside the image"),
        ((9, 9, 9, 20), True, None, "degenerate box"),
    ],
)
def test_boxes_by_hand(corners, one_based, box, kind):
    got, problem = settled(corners, one_based=one_based)
    assert got == box
    assert (problem and problem.kind) == kind


numbers = st.floats(-200, 200)


@given(st.tuples(numbers, numbers, numbers, numbers), st.booleans())
def test_a_box_that_is_left_lies_in_the_image_and_has_an_area(corners, one_based):
    box, problem = settled(corners, one_based=one_based)
    if box is None:
        assert problem.action == "skip"
        return
    assert 0 <= box[0] < box[2] <= 60
    assert 0 <= box[1] < box[3] <= 40
    if not is_fraction(box, (40, 60)):  # what clipping left may be as small
        assert settled(box, one_based=False) == (box, None)


@pytest.mark.parametrize(
    ("rules", "action"),
    [
        (Rules(), "skip"),
        (Rules(strict=True), "stop"),
        (Rules(strict=True, allow_degenerate=True), "skip"),
    ],
)
def test_a_degenerate_box_stops_a_strict_reading(rules, action):
    _, problem = settled((9, 9, 9, 20), rules)
    assert problem.action == action


def test_only_an_issue_that_stops_is_raised():
    stop_at([issue("skip"), issue("mend"), issue("note")])
    with pytest.raises(DataError, match=r"^b\.xml: expected x, got y$"):
        stop_at([issue("note"), issue("stop", "b.xml"), issue("stop", "c.xml")])


@pytest.mark.parametrize(
    ("location", "file", "reason"),
    [
        ("a.xml: object 1", "a.xml", "object 1: expected x, got y"),
        ("a.xml", "a.xml", "expected x, got y"),
    ],
)
def test_what_was_left_out_is_listed_by_its_file(location, file, reason):
    skipped = issue("skip", location).skipped
    assert (skipped.file, skipped.kind, skipped.reason) == (file, "k", reason)


def test_the_nearest_name_ignores_case():
    assert nearest("DGO", ["cat", "Dog"]) == "did you mean 'Dog'?"
    assert nearest("dog", []) == "there is no class at all"


def test_rules_name_the_faults_that_are_allowed():
    rules = Rules.of(strict=True, ignore_unknown_classes=False, allow=["missing"], max_skipped=0.5)
    assert rules == Rules(strict=True, allow_missing=True, max_skipped=0.5)
