import json
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from detection.cli import main
from detection.evaluation.results import read_coco_json
from detection.inference.images import detect
from detection.model_io import save_detector
from detection.tiny import tiny_detector


@pytest.fixture
def scene():
    pixels = np.full((120, 160, 3), 200, dtype=np.uint8)
    pixels[30:90, 40:110] = (30, 60, 200)
    pixels[60:100, 90:150] = (220, 40, 30)
    return pixels


@pytest.fixture(scope="module")
def detector():
    return tiny_detector()


def test_the_command_writes_coco_results_above_the_threshold(tmp_path, detector, scene, capsys):
    run = tmp_path / "run"
    save_detector(run / "model.safetensors", detector)
    (run / "config.yaml").write_text("{}\n")
    path = tmp_path / "139.png"
    PIL.Image.fromarray(scene).save(path)
    out = tmp_path / "out"
    options = ["--out", str(out), "--coco", str(tmp_path / "coco.json"), "--device", "cpu"]
    options += ["--proposals.workers", "1", "--proposals.max_boxes", "20", "--no_drawings"]
    assert main(["detect", str(run), str(path), *options, "--threshold", "-1"]) == 0
    shown = json.loads((out / "detections.json").read_text())[str(path)]["detections"]
    assert shown
    results = read_coco_json(tmp_path / "coco.json")["139"]
    assert [row["score"] for row in shown] == pytest.approx(results.scores.tolist())
    assert [("cat", "dog").index(row["class"]) for row in shown] == results.labels.tolist()
    assert json.loads((tmp_path / "coco.json").read_text())[0]["image_id"] == 139


def test_without_a_threshold_that_of_the_detector_holds(tmp_path, detector, scene):
    path = tmp_path / "139.png"
    PIL.Image.fromarray(scene).save(path)
    proposals = replace(detector.config.proposals, workers=1, max_boxes=20)
    detector = detector.with_config(replace(detector.config, proposals=proposals))

    def scores(name, threshold):
        detect(detector, [path], tmp_path / name, threshold=threshold, draw=False)
        rows = json.loads((tmp_path / name / "detections.json").read_text())[str(path)]
        return [row["score"] for row in rows["detections"]]

    assert scores("default", None) == scores("same", detector.decision_threshold)
    assert 0 < len(scores("few", 1.5)) < len(scores("default", None))
