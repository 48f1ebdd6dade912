"""Numbers that cannot lie: nothing that is not finite, empty or unknown is scored in silence."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from detection.errors import DataError
from detection.evaluation.results import metrics, read_coco_json, write_coco_json
from detection.features.sppnet import SppExtractor
from detection.model_io import load_detector
from detection.structures import Detections, GroundTruth, RoIFeatures
from tests.data.folders import annotation_xml, object_xml
from tests.evaluation.cases import detections_of, truth
from tests.faults.conftest import Trained
from tests.faults.small import FINE_TUNING, HEIGHT, SETTINGS, WIDTH, fail, run, where, write_tree

BOX = [0, 0, 10, 10]
CLASSES = ("cat", "dog")
TRUTHS = [truth("7", [BOX], [0]), truth("8", [BOX], [1])]


def score(detections: list[Detections], truths: list[GroundTruth] = TRUTHS) -> dict[str, object]:
    """Score detections of two classes."""
    return metrics(truths, detections, CLASSES, method="sppnet", split="test")


def test_f47_a_loss_that_is_not_finite_stops_before_the_step(
    trained_once: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    options = [*FINE_TUNING, "--finetune.learning_rate", "1e30", "--finetune.iterations", "40"]
    options += ["--finetune.checkpoint_every", "1"]
    message = fail(capsys, "train", *options, *trained_once.where, "--out", out)
    assert "expected a finite loss" in message
    assert "learning rate 1e+30" in message
    assert "images 00000" in message
    assert not (out / "model.safetensors").exists()
    for path in (out / "checkpoints").glob("step-*.pt"):
        state = torch.load(path, weights_only=True)
        values = [value for value in state["network"].values() if value.is_floating_point()]
        assert all(bool(torch.isfinite(value).all()) for value in values)


def test_f48_values_that_are_not_finite_stop_an_evaluation(
    trained: Trained, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = SppExtractor.pool

    def spoiled(self: SppExtractor, *arguments: object) -> RoIFeatures:
        features = pool(self, *arguments)
        features.values[0] = torch.nan
        return features

    monkeypatch.setattr(SppExtractor, "pool", spoiled)
    message = fail(capsys, "evaluate", trained.run)
    assert message.startswith("000007: expected finite scores and boxes, got ")
    assert not (trained.run / "metrics.json").exists()
    image = trained.tree.root / "JPEGImages" / "000007.jpg"
    assert run("detect", trained.run, image, "--out", trained.run / "found") == 0
    assert "expected finite boxes and scores" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
@pytest.mark.parametrize("place", ["score", "bbox"])
def test_f48_a_file_of_detections_with_nan_is_not_scored(
    tmp_path: Path, place: str, value: str
) -> None:
    row = {"image_id": 7, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.5}
    row[place] = "X" if place == "score" else ["X", 0, 10, 10]
    (tmp_path / "coco.json").write_text(json.dumps([row]).replace('"X"', value))
    with pytest.raises(DataError, match=r"^7: detection 0: expected a finite (score|box)"):
        score(list(read_coco_json(tmp_path / "coco.json").values()))


def test_f49_an_image_without_boxes_has_no_detections(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = tmp_path / "flat.png"
    PIL.Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(flat)
    out = tmp_path / "found"
    assert run("detect", trained.run, flat, "--out", out) == 0
    assert json.loads((out / "detections.json").read_text())[str(flat)]["detections"] == []
    detector = load_detector(trained.run, device="cpu")
    assert detector.detect(flat).boxes.shape == (0, 4)


def test_f49_an_evaluation_without_any_box_scores_zero(trained: Trained) -> None:
    assert run("evaluate", trained.run, "--proposals.min_side", "500") == 0
    values = json.loads((trained.run / "metrics.json").read_text())
    assert values["map"] == {"voc07": 0.0, "voc10": 0.0, "coco": 0.0, "coco50": 0.0}
    assert (values["num_images"], values["num_objects"], values["num_detections"]) == (3, 6, 0)


@pytest.mark.parametrize("settings", [SETTINGS, FINE_TUNING], ids=["svm", "fine-tuning"])
def test_f49_training_without_any_box_stops_and_names_the_proposals(
    trained_once: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    settings: tuple[str, ...],
) -> None:
    options = [*settings, *trained_once.where, "--proposals.min_side", "500"]
    message = fail(capsys, "train", *options, "--out", tmp_path / "run")
    assert "got 0.0 over 0 boxes" in message
    assert "check the network's weights and the proposals" in message


def test_f49_a_class_without_an_object_to_train_on_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = write_tree(tmp_path / "data")
    options = [*SETTINGS, *where(tree, tmp_path / "boxes"), "--out", tmp_path / "run"]
    names = ["--data.class_names", "blue,red,zebra"]
    message = fail(capsys, "train", *options, *names)
    assert "expected objects of every class to train on, got none of 'zebra'" in message


def test_f51_no_detections_at_all_score_zero(tmp_path: Path) -> None:
    write_coco_json(tmp_path / "coco.json", [])
    values = score(list(read_coco_json(tmp_path / "coco.json").values()))
    assert values["map"] == {"voc07": 0.0, "voc10": 0.0, "coco": 0.0, "coco50": 0.0}


BAD_ROWS = {
    "unknown image": ({"image_id": 9}, "9: expected detections of images of the split"),
    "unknown category": ({"category_id": 3}, r"7: detection 0: expected a label in 0\.\.1, got 2"),
    "category 0": ({"category_id": 0}, r"7: detection 0: expected a label in 0\.\.1, got -1"),
    "category by name": ({"category_id": "dog"}, "expected a list of COCO results, got ValueError"),
    "three corners": ({"bbox": [0, 0, 10]}, "expected a list of COCO results, got "),
    "score in words": ({"score": "high"}, "expected a list of COCO results, got ValueError"),
}


@pytest.mark.parametrize("what", BAD_ROWS)
def test_f51_a_bad_row_of_detections_is_named(tmp_path: Path, what: str) -> None:
    changes, message = BAD_ROWS[what]
    row = {"image_id": 7, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.5, **changes}
    (tmp_path / "coco.json").write_text(json.dumps([row]))
    with pytest.raises(DataError, match=message):
        score(list(read_coco_json(tmp_path / "coco.json").values()))


def test_f51_numbers_written_as_text_are_read(tmp_path: Path) -> None:
    row = {"image_id": "7", "category_id": "1", "bbox": [0, 0, 10, 10], "score": "0.5"}
    (tmp_path / "coco.json").write_text(json.dumps([row]))
    values = score(list(read_coco_json(tmp_path / "coco.json").values()))
    assert values["per_class"]["cat"]["voc07"] == 1.0


def test_f51_an_image_twice_is_refused() -> None:
    once = detections_of("7", [BOX], [1.0], [0])
    with pytest.raises(DataError, match=r"^7: expected one set of detections, got two"):
        score([once, once])
    with pytest.raises(DataError, match="expected each image once"):
        score([once], [*TRUTHS, TRUTHS[0]])


def test_f51_the_limit_of_100_detections_is_printed_and_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    many = detections_of("7", [BOX] * 101, [1.0] * 101, [0] * 101)
    with caplog.at_level(logging.WARNING):
        values = score([many])
    assert "the best 100 detections for each class of an image" in str(values["rule"]["coco"])
    assert "100" in caplog.text
    assert values["num_detections"] == 101


def test_every_printed_mean_says_what_it_is(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    hard = "<difficult>1</difficult>"
    objects = [object_xml("blue", (5, 6, 30, 35)), object_xml("red", (50, 6, 80, 35), hard)]
    trained.tree.annotation("000007", annotation_xml(*objects, size=(WIDTH, HEIGHT)))
    assert run("evaluate", trained.run) == 0
    printed = capsys.readouterr().out
    assert run("report", trained.run, "--out", trained.run / "report.html") == 0
    for text in (printed, capsys.readouterr().out):
        assert "mean at 11 recalls" in text or "mean precision at 11 recalls" in text
        assert "area under the monotone precision-recall curve" in text
        assert "IoU >= 0.5" in text
        assert "difficult objects ignored" in text
        assert "test" in text
        assert "3 images, 5 objects, 1 difficult" in text
