"""Detections of every kind of file, as labels."""

import json

import pytest

from detection.errors import DataError
from detection.inference.as_labels import read_labels


def run_folder(folder, rows):
    (folder / "detections").mkdir(parents=True)
    (folder / "detections" / "coco.json").write_text(json.dumps(rows))
    metrics = {"class_names": ["cat", "dog"], "category_ids": [3, 90]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.yaml").write_text("svm: {c: 1.0}\n")
    return folder / "detections" / "coco.json"


@pytest.mark.parametrize(
    ("settings", "threshold", "kept"),
    [
        ("svm: {c: 1.0}", None, 2),
        ("finetune: {enabled: true, scores: softmax}\nfeatures: {layer: fc7}", None, 1),
        ("svm: {c: 1.0}", -1.0, 3),
        ("svm: {c: 1.0}", 0.9, 0),
    ],
)
def test_of_a_run_what_its_scorer_decides_for_is_kept(tmp_path, settings, threshold, kept):
    rows = [
        {"image_id": "a", "category_id": 90, "bbox": [1, 2, 20, 10], "score": score}
        for score in (0.7, 0.2, -0.5)
    ]
    path = run_folder(tmp_path / "run", rows)
    (tmp_path / "run" / "config.yaml").write_text(settings)
    found = read_labels(path, threshold)["a"]
    assert len(found) == kept
    assert {item.class_name for item in found} <= {"dog"}
    assert {item.box for item in found} <= {(1.0, 2.0, 21.0, 12.0)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "expected a file of detections"),
        ('{"a.jpg": {"detections": [{"class": 1}]}}', "expected what detect writes"),
        ('[{"image_id": 1}]', "expected a list of COCO results"),
        (
            '[{"image_id": "a", "category_id": 2, "bbox": [1, 2, 3, 4], "score": 1}]',
            "expected names of 2 classes",
        ),
    ],
)
def test_what_holds_no_detections_is_named(tmp_path, content, words):
    (tmp_path / "found.json").write_text(content)
    with pytest.raises(DataError, match=words):
        read_labels(tmp_path / "found.json")
