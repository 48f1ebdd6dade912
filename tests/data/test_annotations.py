import pytest

from detection.data.annotations import (
    CheckedImage,
    CheckedObject,
    FoundObject,
    examine_objects,
    read_all,
    settle_size,
)
from detection.data.issues import AnnotationIssue, Rules
from detection.errors import DataError
from tests.data.folders import picture

NO_NAMES = frozenset()


def found(name="dog", corners=(1, 1, 60, 40)):
    corners = tuple(map(float, corners))
    return FoundObject(
        location="a.xml: object 1", class_name=name, corners=corners, difficult=False
    )


def image(tmp_path, image_id, *names, size=(40, 60), issues=()):
    objects = tuple(
        CheckedObject(
            location=image_id, class_name=name, box=(0.0, 0.0, 9.0, 9.0), difficult=name == "ant"
        )
        for name in names
    )
    path = tmp_path / f"{image_id}.jpg"
    return CheckedImage(image_id=image_id, path=path, size=size, objects=objects, issues=issues)


def test_inclusive_corners_that_count_from_1_become_continuous():
    (kept,), issues = examine_objects([found()], (40, 60), Rules(), NO_NAMES, one_based=True)
    assert kept.box == (0, 0, 60, 40)
    assert issues == []


@pytest.mark.parametrize(("ignored", "action"), [(False, "stop"), (True, "skip")])
def test_an_unknown_class_is_named_with_the_nearest(ignored, action):
    rules = Rules(ignore_unknown_classes=ignored)
    kept, (issue,) = examine_objects(
        [found("dig")], (40, 60), rules, frozenset({"cow", "dog"}), one_based=True
    )
    assert kept == ()
    assert (issue.kind, issue.action) == ("unknown class", action)
    message = "a.xml: object 1: expected a known class, got 'dig'; did you mean 'dog'?"
    remedy = "" if ignored else " data.ignore_unknown_classes leaves it out"
    assert issue.message == f"{message}{remedy}"


def test_a_box_that_is_clipped_stays_and_one_of_no_area_goes():
    objects = [found(corners=(1, 1, 99, 40)), found(corners=(5, 5, 5, 9))]
    (kept,), issues = examine_objects(objects, (40, 60), Rules(), NO_NAMES, one_based=True)
    assert kept.box == (0, 0, 60, 40)
    assert [issue.kind for issue in issues] == ["clipped box", "degenerate box"]


@pytest.mark.parametrize(
    ("stated", "hint"), [((60, 40), "width and height swapped"), ((41, 60), "correct the annot")]
)
def test_the_files_size_is_taken_and_another_one_that_is_stated_is_an_issue(tmp_path, stated, hint):
    path, issues = tmp_path / "a.png", []
    picture(60, 40).save(path)
    assert settle_size(path, (40, 60), "a.xml", Rules(), issues) == (40, 60)
    assert issues == []
    assert settle_size(path, stated, "a.xml", Rules(), issues) == (40, 60)
    assert hint in issues[0].what
    assert issues[0].action == "stop"


def test_reading_stops_at_the_first_issue_that_stops_it(tmp_path):
    wrong = AnnotationIssue(kind="x", location="b.xml", what="expected y, got z", action="stop")
    images = [image(tmp_path, "a"), image(tmp_path, "b", issues=(wrong,))]
    assert read_all(images[:1]) == images[:1]
    with pytest.raises(DataError, match=r"^b\.xml: expected y, got z$"):
        read_all(images)
