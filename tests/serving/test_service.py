from dataclasses import replace

import pytest
import torch

from detection.proposals.search import propose
from detection.serving.service import distinct_names
from tests.serving import served
from tests.serving.served import post


def test_runs_of_one_name_are_numbered(tmp_path):
    folders = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "other"]
    assert distinct_names(folders) == ["run", "run-2", "other"]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_answer_is_what_each_detector_detects(client, seed):
    data, image = served.picture(seed)
    response = post(client, data)
    assert response.status_code == 200, response.text
    answer = response.json()
    proposals = propose(image, served.PROPOSALS)
    assert (answer["height"], answer["width"]) == image.size
    assert answer["proposals"] == proposals.boxes.tolist()
    assert [model["method"] for model in answer["models"]] == ["sppnet", "rcnn"]
    for model in answer["models"]:
        expected = served.detector(model["method"]).detect(image, proposals)
        assert len(expected.boxes) > 0
        assert [d["box"] for d in model["detections"]] == expected.boxes.tolist()
        assert [d["score"] for d in model["detections"]] == expected.scores.tolist()
        assert [d["label"] for d in model["detections"]] == expected.labels.tolist()


def test_the_stages_of_each_method_add_up_to_its_time(client):
    sppnet, rcnn = post(client, served.picture()[0]).json()["models"]
    assert list(sppnet["stages"]) == [
        "resize", "conv", "projection", "pooling", "fc", "svm", "regression", "suppression",
    ]  # fmt: skip
    assert list(rcnn["stages"]) == ["warp", "conv", "fc", "svm", "regression", "suppression"]
    for model in (sppnet, rcnn):
        assert sum(model["stages"].values()) == pytest.approx(model["seconds"])


def test_the_settings_name_the_detectors(client):
    settings = client.get("/v1/settings").json()
    assert [model["method"] for model in settings["models"]] == ["sppnet", "rcnn"]
    assert settings["models"][0]["class_names"] == ["class 0", "class 1"]
    assert settings["models"][0]["scores"] == "svm"
    assert settings["max_upload_bytes"] == 100_000


def test_a_clock_around_a_detector_does_not_change_what_its_regressors_read():
    detector = served.detector(layer="fc7")
    weight = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0)) * 0.1
    scored = replace(detector.regressors, weight=weight, reads="scored")
    detector = replace(detector, regressors=scored)
    _, image = served.picture()
    expected = detector.detect(image)
    assert len(expected.boxes) > 0
    actual = served.serve_detector(detector, "run").detector.detect(image)
    assert torch.equal(actual.boxes, expected.boxes)
