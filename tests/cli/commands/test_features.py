from __future__ import annotations

import json
from pathlib import Path

import pytest

from detection.cli.main import main
from detection.data.synthetic import synthesize
from detection.io.tensors import load_tensors
from detection.model_io import save_detector
from detection.runs.config_io import write_config
from detection.tiny import tiny_detector
from tests.cli.lines import fail


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    detector = tiny_detector()
    save_detector(folder / "model.safetensors", detector)
    (folder / "config.yaml").write_text(write_config(detector.config))
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    synthesize(tmp_path / "data", train_images=1, test_images=1)
    return tmp_path / "data/JPEGImages"


def test_vectors_of_a_run_and_of_settings(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "broken.jpg").write_bytes(b"no image")
    words = ["features", str(images), "--run", str(run_folder), "--features.device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 1
    said = capsys.readouterr()
    assert "2 images in" in said.out
    assert said.err.startswith(f"error: {images / 'broken.jpg'}: ")
    index = json.loads((tmp_path / "a/features.json").read_text())
    assert index[str(images / "000001.jpg")] == {
        "image_id": "000001",
        "file": "000001.safetensors",
    }
    (images / "broken.jpg").unlink()
    settings = ["--backbone.name", "squeezenet", "--features.layer", "pool5"]
    settings += ["--features.scales", "64", "--features.device", "cpu", "--features.levels", "1"]
    words = ["features", str(images / "000001.jpg"), *settings, "--proposals.max_boxes", "7"]
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    tensors, header = load_tensors(tmp_path / "b/000001.safetensors")
    assert tensors["rows"].shape == (7,)
    assert tensors["values"].shape[1] == 512
    assert header["layer"] == "pool5"


def test_another_network_than_the_run_s_is_refused(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("features", images, "--run", run_folder, "--out", tmp_path / "a")
    message = fail(capsys, *words, "--features.scales", "128")
    assert message.startswith("--run: expected the backbone and the features of")
    message = fail(capsys, *words, "--backbone.seed", "1")
    assert message.startswith("--run: expected the backbone")
    message = fail(capsys, *words, "--features.layer", "fc7")
    assert message == f"features.layer: expected pool5 of {run_folder}, got fc7"


def test_a_video_is_refused(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = fail(capsys, "features", "a.mp4", "--run", run_folder, "--out", tmp_path / "a")
    assert message == "inputs: expected images, got a.mp4; detect takes videos"
