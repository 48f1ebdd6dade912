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


def test_a_repr_fits_on_a_screen():
    many = detections_of()[[0, 1] * 500]
    assert repr(many).splitlines() == [
        "Detections of 000012: 1000 detections: dog 500, cat 500",
        *["  dog 0.75  box 10 20 30 60", "  cat -1.25  box 0 0 6 7"] * 2,
        "  dog 0.75  box 10 20 30 60",
        "  and 995 more",
    ]
    assert repr(Detections.none("a")) == "Detections of a: 0 detections"
    assert repr(detections_of(1)).startswith("Detections of 000012: 1 detection: dog 1\n")


def test_detections_are_a_sequence():
    detections = detections_of()
    assert len(detections) == 2
    assert [one.class_name for one in detections] == ["dog", "cat"]
    assert detections[-1] == detections[1]
    assert detections[1:].labels.tolist() == [0]
    assert detections[torch.tensor([False, True])].labels.tolist() == [0]
    assert detections[[1, 0]].scores.tolist() == [-1.25, 0.75]
    assert detections[np.array([False, True])].labels.tolist() == [0]
    assert detections[np.int64(1)] == detections[detections.scores.argmin()] == detections[1]
    assert list(Detections.none("a")) == []
    with pytest.raises(IndexError):
        detections[2]
    assert detections_of(class_names=())[0].class_name == "1"


def test_a_filter_keeps_what_meets_all_conditions():
    detections = detections_of()
    assert len(detections.filter()) == 2
    assert detections.filter(score=0.0).labels.tolist() == [1]
    assert detections.filter(classes={"cat"}).labels.tolist() == [0]
    assert detections.filter(classes=[1]).labels.tolist() == [1]
    assert detections.filter(classes="cat").labels.tolist() == [0]
    assert detections.filter(classes="a").labels.tolist() == []
    assert detections.filter(classes=1).labels.tolist() == [1]
    assert detections.filter(min_area=40).labels.tolist() == [1]
    assert detections.filter(min_area=38.5).labels.tolist() == [1, 0]
    assert len(detections.filter(classes=["cat"], score=0.0)) == 0
    assert detections.filter(classes=["cat"]).image_id == "000012"


def test_merged_detections_are_best_first():
    merged = detections_of().merge(detections_of(1, scores=torch.tensor([0.0])), detections_of(0))
    assert merged.scores.tolist() == [0.75, 0.0, -1.25]
    assert merged.labels.tolist() == [1, 1, 0]


def test_nms_removes_what_overlaps_a_better_one_of_its_class():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 10]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    detections = detections_of(boxes=boxes, scores=scores, labels=torch.tensor([0, 0, 1]))
    assert detections.nms(0.7).scores.tolist() == pytest.approx([0.9, 0.7])  # 0.8 overlaps by 0.8
    assert len(detections.nms(0.85)) == 3
