import json

import numpy as np
import onnxruntime
import torch

from detection.cli.main import main
from tests.export.runs import make_run, run_command


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
