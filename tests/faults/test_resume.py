"""A run is not continued as another one."""

from __future__ import annotations

import json

import pytest

from detection.runs.fingerprint import NAME
from tests.data.folders import annotation_xml, object_xml
from tests.faults.conftest import Trained
from tests.faults.small import HEIGHT, SETTINGS, WIDTH, fail, run


def resume(trained: Trained) -> list[object]:
    """Return the command that resumes a run whose model is not written yet."""
    (trained.run / "model.safetensors").unlink(missing_ok=True)
    return ["train", *SETTINGS, *trained.where, "--out", trained.run, "--resume"]


def test_f43_the_same_settings_and_data_go_on(trained: Trained) -> None:
    before = json.loads((trained.run / NAME).read_text())
    assert run(*resume(trained)) == 0
    assert (trained.run / "model.safetensors").exists()
    assert json.loads((trained.run / NAME).read_text()) == before


def test_f43_changed_settings_stop_with_the_difference(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = [*resume(trained), "--svm.c", "0.5", "--data.train_difficult", "true"]
    message = fail(capsys, *changed)
    assert "svm.c: 0.001 -> 0.5" in message
    assert "data.train_difficult: False -> True" in message
    assert "--override" in message
    assert not (trained.run / "model.safetensors").exists()
    assert run(*changed, "--override") == 0


def test_f43_changed_objects_stop_with_what_changed(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = [object_xml("blue", (5, 6, 30, 35)), object_xml("red", (50, 6, 80, 35))] * 2
    trained.tree.annotation("000001", annotation_xml(*objects, size=(WIDTH, HEIGHT)))
    message = fail(capsys, *resume(trained))
    assert "num_objects: 12 -> 14" in message
    assert "sha256" in message
    assert "--override" in message
    assert run(*resume(trained), "--override") == 0
    assert json.loads((trained.run / NAME).read_text())["num_objects"] == 14


def test_f43_a_replaced_image_stops(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    images = trained.tree.root / "JPEGImages"
    (images / "000001.jpg").write_bytes((images / "000007.jpg").read_bytes())
    assert "sha256" in fail(capsys, *resume(trained))


def test_f43_changed_classes_stop(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    order = ["--data.class_names", "red,blue"]
    assert "data.class_names" in fail(capsys, *resume(trained), *order)
    for path in (trained.tree.root / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("blue", "zebra"))
    message = fail(capsys, *resume(trained))
    assert "class_names: ['blue', 'red'] -> ['red', 'zebra']" in message


def test_f38_another_order_of_the_classes_stops_an_evaluation(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    message = fail(capsys, "evaluate", trained.run, "--data.class_names", "red,blue")
    assert "expected the classes of the trained detector in their order, blue,red" in message
    assert "got red,blue" in message
    assert run("evaluate", trained.run, "--data.class_names", "blue,red") == 0


def test_a_finished_run_keeps_the_configuration_that_made_its_model(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {path: path.read_bytes() for path in trained.run.iterdir() if path.suffix != ".txt"}
    same = ["train", *SETTINGS, *trained.where, "--out", trained.run, "--resume"]
    for more in ((), ("--override",)):
        message = fail(capsys, *same, "--svm.c", "0.5", *more)
        assert (
            "expected the configuration of its finished model, got svm.c: 0.001 -> 0.5" in message
        )
        assert "--overwrite" in message
        assert run(*same, *more) == 0  # already trained
        actual = {
            path: path.read_bytes() for path in trained.run.iterdir() if path.suffix != ".txt"
        }
        del actual[trained.run / "environment.json"]
        assert actual.items() <= kept.items()
    assert run(*same[:-1], "--overwrite", "--svm.c", "0.5") == 0
    assert "c: 0.5" in (trained.run / "config.yaml").read_text()
