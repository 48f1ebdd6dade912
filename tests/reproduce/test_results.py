"""What a row came to, from the files that its test wrote."""

import pytest

from detection.reproduce.results import scores
from detection.reproduce.table import VOC_CLASSES, Row

ROW = Row(name="r", training="t")
METRICS = {
    "map": {"voc07": 0.5},
    "interval": [0.25, 0.75],
    "per_class": {"cat": {"voc07": None}, "dog": {"voc07": 0.5}},
    "num_images": 4952,
    "split": "test",
    "dataset": "VOC2007 test",
    "class_names": list(VOC_CLASSES),
}


@pytest.mark.parametrize(
    ("changed", "official"),
    [({}, True), ({"num_images": 4951}, False), ({"class_names": ["cat", "dog"]}, False)],
)
def test_numbers_are_official_of_all_images_and_classes_of_voc_2007(changed, official):
    made = scores(METRICS | changed, ROW, "detection")
    assert made["official"] is official
    assert made["value"] == 50
    assert made["interval"] == (25, 75)
    assert made["classes"] == {"cat": None, "dog": 50}


def test_a_detector_without_objects_to_find_has_no_number():
    made = scores(METRICS | {"map": {"voc07": None}, "interval": None}, ROW, "detection")
    assert made["value"] is None
    assert made["interval"] is None


def test_a_classifier_has_its_top_1_error_and_its_standard_error_twice():
    values = {
        "views": {"ten": {"top1_error": 0.35, "top5_error": 0.14, "standard_error": 0.01}},
        "num_pictures": 50_000,
        "split": "val",
    }
    made = scores(values, Row(name="r", training="t", view="ten"), "classification")
    assert made["value"] == 35
    assert made["top5"] == pytest.approx(14)
    assert made["interval"] == pytest.approx((33.04, 36.96))
    assert made["official"]


SPLITS = {
    "accuracy": 0.9,
    "deviation": 0.01,
    "splits": [{"num_train": 3060}] * 10,
    "per_class": {"ant": 0.8, "bee": 1.0},
    "class_names": [str(label) for label in range(102)],
    "num_images": 9144,
    "split": "caltech101",
}


@pytest.mark.parametrize(
    ("changed", "official"),
    [
        ({}, True),
        ({"num_images": 9143}, False),
        ({"splits": [{"num_train": 3060}] * 9}, False),
        ({"splits": [{"num_train": 1530}] * 10}, False),
    ],
)
def test_random_splits_have_an_accuracy_and_its_deviation(changed, official):
    made = scores(SPLITS | changed, ROW, "folders")
    assert (made["value"], made["deviation"]) == (90, 1)
    assert made["classes"] == {"ant": 80, "bee": 100}
    assert made["official"] is official
    assert scores(SPLITS | {"deviation": None}, ROW, "folders")["deviation"] is None


def test_ranked_images_are_scored_like_detections():
    assert scores(METRICS, ROW, "images") == scores(METRICS, ROW, "detection")
