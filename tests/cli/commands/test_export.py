import json
import subprocess
import sys

import numpy as np
import onnxruntime
import torch

from detection.backbones.weights import load_backbone
from detection.benchmark.instrument import untrained_detector
from detection.cli.main import main
from detection.config import BackboneConfig, Config, FeatureConfig
from detection.model_io import save_detector
from detection.runs.config_io import write_config


def make_run(folder, **features):
    features = {"layer": "pool5", "scales": (64,), "levels": (1, 2), "device": "cpu"} | features
    config = Config(
        features=FeatureConfig(**features),
        backbone=BackboneConfig(name="squeezenet", preprocessing="torchvision"),
    )
    folder.mkdir()
    (folder / "config.yaml").write_text(write_config(config))
    detector = untrained_detector(load_backbone(config.backbone, to_train=True), config, 2)
    save_detector(folder / "model.safetensors", detector)
    return folder


def run_command(*arguments):
    """Run it in a process of its own, where shapes are not checked, as a user would."""
    command = [sys.executable, "-m", "detection", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_the_command_writes_a_file_that_onnx_runtime_runs(tmp_path):
    run, out = make_run(tmp_path / "run"), tmp_path / "new" / "model.onnx"
    done = run_command(run, "--format", "onnx", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith(f"{out}: sppnet on squeezenet, ")
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    for side, count in ((64, 3), (97, 1)):
        image = np.zeros((1, 3, side, side), np.float32)
        boxes = np.tile([0.0, 0.0, 40.0, 50.0], (count, 1))
        scores, moved = session.run(None, {"image": image, "boxes": boxes})
        assert scores.shape == (count, 2)
        assert moved.shape == (count, 2, 4)
    assert session.get_modelmeta().custom_metadata_map["method"] == "sppnet"


def test_the_command_writes_a_file_that_torch_runs(tmp_path):
    run, out = make_run(tmp_path / "run", method="rcnn"), tmp_path / "model.pt2"
    done = run_command(run, "--format", "torch-export", "--out", out)
    assert done.returncode == 0, done.stderr
    notes = {"detection.json": ""}
    module = torch.export.load(out, extra_files=notes).module()
    scores, deltas = module(torch.zeros(5, 3, 227, 227))
    assert scores.shape == (5, 2)
    assert deltas.shape == (5, 2, 4)
    assert json.loads(notes["detection.json"])["method"] == "rcnn"


def test_several_scales_are_one_line(tmp_path, capsys):
    run = make_run(tmp_path / "run", scales=(64, 96))
    out = tmp_path / "m.onnx"
    assert main(["export", str(run), "--format", "onnx", "--out", str(out)]) == 2
    assert "features.scales: expected one scale to export" in capsys.readouterr().err
    assert not out.exists()
