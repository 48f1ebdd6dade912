import json
import shutil
from dataclasses import replace

import pytest

from detection.data.dataset import read_dataset
from detection.evaluation.calibration import calibration_metrics
from detection.evaluation.results import read_coco_json
from detection.heads.calibration import Calibration
from tests.report.pages import make_report

CALIBRATION = Calibration(slope=(3.0,) * 3, offset=(-0.5,) * 3, threshold=0.4)


@pytest.fixture
def calibrated(runs, data, tmp_path):
    """A run whose detections have probabilities; its folder and its metrics."""
    folder = tmp_path / "calibrated"
    shutil.copytree(runs[0], folder)
    truths = [record.truth for record in read_dataset(data, "test").records]
    detections = [
        replace(one, probabilities=CALIBRATION.probabilities(one.scores, one.labels))
        for one in read_coco_json(folder / "detections" / "coco.json").values()
    ]
    values = json.loads((folder / "metrics.json").read_text())
    values["calibration"] = calibration_metrics(truths, detections, 3) | {"threshold": 0.4}
    (folder / "metrics.json").write_text(json.dumps(values))
    return folder, values


def test_the_page_shows_whether_probabilities_hold(calibrated, tmp_path):
    folder, values = calibrated
    _, page = make_report([folder], tmp_path / "r.html", images_each=0)
    found = values["calibration"]
    at = found["curve"]["threshold"].index(0.4)
    cells = [0.400, *(100 * found["curve"][key][at] for key in ("precision", "recall", "f1"))]
    shown = [f"{cells[0]:.3f}", *(f"{cell:.1f}" for cell in cells[1:])]
    shown += [f"{100 * max(found['curve']['f1']):.1f}", f"{100 * found['ece']:.2f}"]
    assert " ".join([*shown, f"{100 * found['raw']['ece']:.2f}"]) in page.words
    assert "as it should be" in page.words


def test_without_probabilities_the_section_is_left_out(runs, calibrated, tmp_path):
    _, page = make_report([runs[1]], tmp_path / "r.html", images_each=0)
    assert "What a probability is worth is left out: no run here has a calibrated" in page.words
    folder, values = calibrated
    del values["calibration"]["curve"]
    (folder / "metrics.json").write_text(json.dumps(values))
    _, page = make_report([folder], tmp_path / "s.html", images_each=0)
    assert "lacks a part. detection evaluate adds it" in page.words
