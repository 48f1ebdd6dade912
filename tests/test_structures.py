import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from detection.data.image_like import to_image
from detection.errors import DataError
from detection.structures import Detections


def detections_of(count=2, **settings):
    boxes = torch.tensor([[10.0, 20, 30, 60], [0, 0, 5.5, 7]])[:count]
    values = {
        "image_id": "000012",
        "boxes": boxes,
        "scores": torch.tensor([0.75, -1.25])[:count],
        "labels": torch.tensor([1, 0])[:count],
        "class_names": ("cat", "dog"),
    }
    return Detections(**{**values, **settings})


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((4, 4, 3), np.uint16), "uint16"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((4, 4, 5), np.uint8), r"\(4, 4, 5\)"),
        (np.zeros((3, 4, 0), np.uint8), r"\(3, 4, 0\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (np.zeros((1, 3, 4, 4), np.uint8), r"\(1, 3, 4, 4\)"),
    ],
)
def test_other_arrays_are_refused(value, got):
    with pytest.raises(DataError, match=f"image: expected an array.*, got {got}"):
        to_image(value)


def test_arrays_have_the_names_and_types_of_supervision():
    arrays = detections_of().to_arrays()
    assert set(arrays) == {"xyxy", "confidence", "class_id", "data"}
    assert (arrays["xyxy"].dtype, arrays["xyxy"].shape) == (np.float32, (2, 4))
    assert arrays["xyxy"].tolist() == [[10, 20, 30, 60], [0, 0, 5.5, 7]]
    assert (arrays["confidence"].dtype, arrays["confidence"].tolist()) == (
        np.float32,
        [0.75, -1.25],
    )
    assert (arrays["class_id"].dtype, arrays["class_id"].tolist()) == (np.int64, [1, 0])
    assert arrays["data"]["class_name"].tolist() == ["dog", "cat"]


def test_arrays_without_names_hold_labels_as_text():
    assert detections_of(class_names=()).to_arrays()["data"]["class_name"].tolist() == ["1", "0"]


def test_arrays_of_nothing_keep_their_shapes():
    arrays = Detections.none("a").to_arrays()
    assert arrays["xyxy"].shape == (0, 4)
    assert arrays["confidence"].shape == arrays["class_id"].shape == (0,)
    assert arrays["data"]["class_name"].shape == (0,)
    assert Detections.none("a").to_coco() == []


def test_arrays_do_not_share_memory_with_the_detections():
    original = detections_of()
    original.to_arrays()["xyxy"][:] = 0
    assert original.boxes[0].tolist() == [10, 20, 30, 60]


def test_coco_rows_are_x_y_width_height():
    assert detections_of().to_coco(image_id=7, category_ids=[3, 18]) == [
        {"image_id": 7, "category_id": 18, "bbox": [10, 20, 30 - 10, 60 - 20], "score": 0.75},
        {"image_id": 7, "category_id": 3, "bbox": [0, 0, 5.5, 7], "score": -1.25},
    ]


@pytest.mark.parametrize(("name", "expected"), [("12", 12), ("000012", "000012"), ("a", "a")])
def test_an_image_id_is_a_number_where_it_is_written_as_one(name, expected):
    assert {row["image_id"] for row in detections_of(image_id=name).to_coco()} == {expected}


def test_pycocotools_reads_the_rows(capsys):
    truth = COCO()
    truth.dataset = {
        "images": [{"id": 7, "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [],
    }
    truth.createIndex()
    results = truth.loadRes(detections_of().to_coco(image_id=7))
    assert [a["area"] for a in results.loadAnns(results.getAnnIds(imgIds=[7]))] == [800, 38.5]


def test_above_keeps_scores_that_are_equal():
    assert detections_of().above(0.75).scores.tolist() == [0.75]
    assert detections_of().above(0.75).class_names == ("cat", "dog")
    assert len(detections_of().above(0.76).boxes) == 0
