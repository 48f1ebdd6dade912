from pathlib import Path

import pytest

from detection.data.annotations import FoundObject
from detection.data.coco_file import CocoImage
from detection.data.label_tables import note, read_text, to_coco
from detection.data.split import names_of
from detection.errors import DataError


def found(name, corners):
    return FoundObject(location="a.txt: line 1", class_name=name, corners=corners, difficult=False)


def image(image_id):
    return CocoImage(image_id=image_id, file_name=f"{image_id}.jpg", size=None)


def test_only_the_default_splits_have_other_names():
    assert names_of("train") == ("train",)
    assert names_of("val") == ("val",)
    assert names_of("trainval") == ("trainval", "train")
    assert names_of("test") == ("test", "val", "valid", "validation")


def test_annotations_are_numbered_in_the_order_of_the_images():
    objects = {"b": [found("cat", (1.0, 2.0, 4.0, 7.0))], "a": [found("dog", (0.0, 0.0, 2.0, 2.0))]}
    images = [image("a"), image("b"), image("c")]
    coco = to_coco(Path("data.yaml"), {0: "cat", 1: "dog"}, images, objects, [])
    common = {"iscrowd": 0}
    assert coco.annotations == (
        {"id": 1, "image_id": "a", "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4, **common},
        {"id": 2, "image_id": "b", "category_id": 0, "bbox": [1, 2, 3, 5], "area": 15, **common},
    )
    assert coco.issues == ()


def test_a_split_without_images_is_an_issue_of_its_own():
    remark = note("polygon", "a.txt: line 1", "expected a box, got a polygon")
    coco = to_coco(Path("data.yaml"), {}, [], {}, [remark])
    assert [(issue.kind, issue.action) for issue in coco.issues] == [
        ("polygon", "note"),
        ("empty list", "stop"),
    ]
    assert to_coco(Path("data.yaml"), {}, [], {}, coco.issues).issues == coco.issues


def test_texts_are_read_without_their_byte_order_mark(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffä".encode())
    assert read_text(tmp_path / "a.txt") == "ä"
    (tmp_path / "a.txt").write_bytes(b"ab\xe4")
    with pytest.raises(DataError, match=r"a\.txt: expected UTF-8 text, got byte 2 that is not"):
        read_text(tmp_path / "a.txt")
