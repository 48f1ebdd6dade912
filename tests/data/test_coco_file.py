import pytest

from detection.data.coco_file import category_ids, open_coco
from detection.errors import DataError
from tests.data.folders import coco_content, write_coco


def opened(tmp_path, **changes):
    return open_coco(tmp_path, write_coco(tmp_path, coco_content(**changes)))


def test_a_box_becomes_corners_and_the_area_that_lacks_its_own(tmp_path):
    coco = opened(tmp_path)
    ((found,),) = coco.objects.values()
    assert found.corners == (5, 6, 5 + 20, 6 + 10)
    assert found.class_name == "dog"
    (annotation,) = coco.annotations
    assert annotation["area"] == 20 * 10
    assert annotation["iscrowd"] == 0
    assert coco.images[0].size == (40, 60)
    assert coco.issues == ()


def test_a_category_keeps_its_number_and_an_unused_one_is_not_a_class(tmp_path):
    coco = opened(tmp_path)
    assert coco.used_names() == ("dog",)
    assert category_ids(coco.path) == {"cat": 3, "dog": 90}


def test_categories_stand_in_the_order_of_their_numbers_then_of_their_texts(tmp_path):
    categories = [{"id": key, "name": f"n{key}"} for key in ("b", 10, "a", 9)]
    coco = opened(tmp_path, categories=categories, annotations=[])
    assert list(coco.categories) == [9, 10, "a", "b"]


def test_a_crowd_is_difficult_and_noted(tmp_path):
    entry = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [0, 0, 5, 5], "iscrowd": 1}
    coco = opened(tmp_path, annotations=[entry])
    ((found,),) = coco.objects.values()
    assert (found.crowd, found.difficult) == (True, True)
    assert [(issue.kind, issue.action) for issue in coco.issues] == [("crowd", "note")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"categories": [{"id": 1, "name": "a"}] * 2},
            "category 1: expected a new id, got 1 again",
        ),
        (
            {"images": [{"id": 7, "file_name": "../a"}]},
            "image 7: expected a file below the images'",
        ),
        ({"images": [3]}, r"images\[1\]: expected an object, got int '3'"),
    ],
)
def test_an_entry_that_is_wrong_is_an_issue_that_stops(tmp_path, changes, message):
    coco = opened(tmp_path, annotations=[], **changes)
    assert [issue.action for issue in coco.issues] == ["stop"]
    with pytest.raises(DataError, match=message):
        category_ids(coco.path)


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a list 'images', got nothing; not COCO"):
        opened(tmp_path, images=None)


def test_the_file_may_be_named_from_the_images_folder(tmp_path):
    write_coco(tmp_path / "sub", coco_content())
    coco = open_coco(tmp_path / "sub", (tmp_path / "instances.json").relative_to(tmp_path))
    assert coco.path == tmp_path / "sub" / "instances.json"
