import pytest

from detection.data.assemble import assemble
from detection.data.issues import AnnotationIssue, Rules
from detection.errors import DataError
from tests.data.test_annotations import image


def unreadable(image_id):
    what = "expected an image, got none; repair it"
    return AnnotationIssue(kind="unreadable image", location=image_id, what=what, action="skip")


def test_labels_are_the_places_among_the_sorted_names(tmp_path):
    images = [image(tmp_path, "1", "dog", "ant"), image(tmp_path, "2", "cow")]
    dataset = assemble("set", "train", images, [], (), Rules())
    assert dataset.class_names == ("ant", "cow", "dog")
    assert [record.truth.labels.tolist() for record in dataset.records] == [[2, 0], [1]]
    assert [record.truth.difficult.tolist() for record in dataset.records] == [
        [False, True],
        [False],
    ]


def test_one_unreadable_image_of_two_is_too_many_unless_half_may_be_left_out(tmp_path):
    broken = image(tmp_path, "b", size=None, issues=(unreadable("b"),))
    images = [image(tmp_path, "a", "dog"), broken]
    with pytest.raises(DataError, match=r"at most 1\.0% unreadable images, got 1 of 2"):
        assemble("set", "train", images, [], (), Rules())
    dataset = assemble("set", "train", images, [], (), Rules(max_skipped=0.5))
    assert [record.image_id for record in dataset.records] == ["a"]
    assert [skipped.kind for skipped in dataset.skipped] == ["unreadable image"]
    assert dataset.notes == {"unreadable image": 1}
