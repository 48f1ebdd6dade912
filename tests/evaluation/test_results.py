import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.config import EvaluationConfig
from detection.errors import DataError
from detection.evaluation.results import (
    format_table,
    metrics,
    read_coco_json,
    write_coco_json,
    write_results,
    write_voc_files,
)
from detection.evaluation.voc_ap import evaluate_voc
from tests.evaluation.cases import as_detections, detections_of, random_case, truth
from tests.reference import voc_ap as devkit

BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]
NAMES = ("cat", "dog", "bird")
QUICK = EvaluationConfig(bootstrap=50)


def score(truths, detections, names=NAMES, config=QUICK):
    return metrics(truths, detections, names, method="sppnet", split="val", config=config)


def test_oracle_scores_exactly_one_by_every_rule():
    truths, _ = random_case(0, num_images=20)
    values = score(truths, [as_detections(t) for t in truths])
    assert values["map"] == {"voc07": 1.0, "voc10": 1.0, "coco": 1.0, "coco50": 1.0}
    assert values["interval"] == [1.0, 1.0]


@pytest.mark.parametrize("num_classes", [1, 2])
def test_oracle_scores_one_with_few_classes(num_classes):
    truths, _ = random_case(0, num_images=5, num_classes=num_classes, difficult=0)
    values = score(truths, [as_detections(t) for t in truths], NAMES[:num_classes])
    assert set(values["map"].values()) == {1.0}


def test_metrics_name_split_counts_and_rules():
    truths = [truth("1", [BOX, FAR, FAR], [0, 1, 0], [False, False, True]), truth("2", [], [])]
    values = score(truths, [detections_of("1", [BOX], [1], [0])])
    assert (values["method"], values["split"], values["num_images"]) == ("sppnet", "val", 2)
    assert (values["num_objects"], values["num_difficult"], values["num_detections"]) == (2, 1, 1)
    assert values["map"]["voc07"] == 0.5
    assert values["per_class"]["cat"]["voc07"] == 1.0
    assert values["per_class"]["bird"]["voc07"] is None
    assert values["classes_without_ground_truth"] == ["bird"]
    assert "11 recalls" in values["rule"]["voc07"]
    assert "best 100 detections" in values["rule"]["coco"]


def test_metrics_without_resampling_have_no_interval():
    values = score([truth("1", [BOX], [0])], [], ["cat"], EvaluationConfig(bootstrap=0))
    assert values["interval"] is None
    assert "interval" not in format_table(values)


def test_metrics_of_a_split_without_objects_are_unknown_and_still_json():
    values = score([truth("1", [], [])], [], ["cat"])
    assert values["map"]["voc07"] is None
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert "cat" in format_table(values)


def test_table_shows_rule_split_counts_and_every_class():
    truths = [truth("1", [BOX, FAR], [0, 1]), truth("2", [BOX], [0])]
    table = format_table(score(truths, [detections_of("1", [BOX], [1], [0])]))
    assert "sppnet on val: 2 images, 3 objects, 0 difficult, 1 detection" in table
    assert "voc07: VOC2007: mean precision at 11 recalls, IoU >= 0.5" in table
    lines = {line.split()[0]: line.split() for line in table.splitlines() if line}
    # Half the cats: 6 of 11 points, area one half.
    assert lines["cat"][1:3] == ["54.5", "50.0"]
    assert lines["dog"][1:3] == ["0.0", "0.0"]
    assert lines["bird"][1:] == ["-", "-", "-", "0", "0", "no", "ground", "truth"]
    assert lines["mean"][1:3] == ["27.3", "25.0"]


def test_voc_files_hold_inclusive_corners_that_start_at_one(tmp_path):
    whole_image = detections_of("000012", [[0, 0, 500, 375]], [0.25], [0])
    paths = write_voc_files(tmp_path, [whole_image], ["cat", "dog"], "val")
    assert [path.name for path in paths] == ["comp4_det_val_cat.txt", "comp4_det_val_dog.txt"]
    assert paths[0].read_text() == "000012 0.25 1 1 500 375\n"
    assert paths[1].read_text() == ""


def test_devkit_computes_the_same_number_from_the_files(tmp_path):
    truths, detections = random_case(4, num_images=10)
    paths = write_voc_files(tmp_path, detections, NAMES, "val")
    for label, path in enumerate(paths):
        rows = [line.split() for line in path.read_text().splitlines()]
        guesses = [(float(row[1]), row[0], [float(v) for v in row[2:]]) for row in rows]
        objects = {
            t.image_id: [
                (box + [1, 1, 0, 0], bool(hard))  # noqa: RUF005
                for box, name, hard in zip(t.boxes.numpy(), t.labels, t.difficult, strict=True)
                if name == label
            ]
            for t in truths
        }
        expected = devkit.area_ap(devkit.recall_and_precision(objects, guesses, 0.5))
        got = evaluate_voc(truths, detections, NAMES, rule="voc10").ap[label]
        assert got == pytest.approx(expected)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_coco_json_reads_back_what_was_written(tmp_path_factory, seed):
    _, detections = random_case(seed, distinct=True)
    detections = [
        detections_of(
            d.image_id, d.boxes.numpy() * np.float32(1.1), d.scores.tolist(), d.labels.tolist()
        )
        for d in detections
        if len(d.scores)
    ]
    path = tmp_path_factory.mktemp("json") / "coco.json"
    write_coco_json(path, detections)
    read = read_coco_json(path)
    assert list(read) == [d.image_id for d in detections]
    for before in detections:
        after = read[before.image_id]
        for name in ("boxes", "scores", "labels"):
            assert (getattr(after, name) == getattr(before, name)).all()


def test_coco_json_counts_categories_from_one_and_keeps_numbers_numbers(tmp_path):
    write_coco_json(tmp_path / "a", [detections_of("42", [[1, 2, 4, 8]], [0.5], [0])])
    row = {"image_id": 42, "category_id": 1, "bbox": [1.0, 2.0, 3.0, 6.0], "score": 0.5}
    assert json.loads((tmp_path / "a").read_text()) == [row]
    write_coco_json(tmp_path / "b", [detections_of("000042", [[1, 2, 4, 8]], [0.5], [0])])
    assert json.loads((tmp_path / "b").read_text())[0]["image_id"] == "000042"


def test_no_detections_are_written_as_an_empty_list(tmp_path):
    write_coco_json(tmp_path / "a", [detections_of("1", [], [], [])])
    assert read_coco_json(tmp_path / "a") == {}


@pytest.mark.parametrize("content", ["", "{", "{}x", '{"a": 1}', '[{"image_id": 1}]', "[1]", "\0"])
def test_file_that_is_not_a_result_list_is_refused_by_name(tmp_path, content):
    (tmp_path / "coco.json").write_text(content)
    with pytest.raises(DataError, match=r"coco\.json: expected a list of COCO results"):
        read_coco_json(tmp_path / "coco.json")


def test_missing_file_of_detections_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: expected a file of detections"):
        read_coco_json(tmp_path / "none.json")


def test_names_that_differ_only_in_unsafe_letters_keep_two_files(tmp_path):
    paths = write_voc_files(tmp_path, [], ["a/b", "a b"], "val")
    assert len(set(paths)) == len(list(tmp_path.iterdir())) == 2


def test_run_folder_gets_metrics_and_detections(tmp_path):
    truths, detections = random_case(5)
    values = score(truths, detections)
    write_results(tmp_path, values, detections, NAMES)
    assert json.loads((tmp_path / "metrics.json").read_text()) == values
    names = sorted(path.name for path in (tmp_path / "detections").iterdir())
    assert names == [
        "coco.json",
        "comp4_det_val_bird.txt",
        "comp4_det_val_cat.txt",
        "comp4_det_val_dog.txt",
    ]
    again = list(read_coco_json(tmp_path / "detections" / "coco.json").values())
    assert score(truths, again)["map"] == values["map"]
