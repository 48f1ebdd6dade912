import re
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.cli.main import main
from detection.errors import ConfigError
from detection.export import write
from detection.model_io import load_detector
from detection.postprocess import Candidates
from tests.export.runs import make_run, run_command
from tests.serving import served


def test_the_example_of_the_documents_gives_the_detectors_numbers(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", levels=(1, 2, 3, 6))
    done = run_command(run, "--format", "onnx", "--out", tmp_path / "detector.onnx")
    assert done.returncode == 0, done.stderr
    data, image = served.picture(0, (72, 96))
    (tmp_path / "image.jpg").write_bytes(data)  # a PNG by its content
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)[1], names)
    detector = load_detector(run)
    whole = torch.tensor([[0.0, 0.0, 96.0, 72.0]])
    pool5 = detector.extractor.extract(image, whole)
    fc7 = pool5.map(detector.fc)
    scores = fc7.map(detector.scorer.score).expand()
    np.testing.assert_allclose(names["scores"], scores.numpy(), atol=1e-3)
    labels = torch.tensor([0, 1])
    rows = torch.zeros_like(labels)
    both = Candidates(rows=rows, boxes=whole[rows], scores=scores[0], labels=labels)
    expected = detector.regress(both, pool5, fc7, image.size).boxes
    np.testing.assert_allclose(names["boxes"][0], expected.numpy(), atol=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "tflite", "--out", "x"], "--format: invalid choice: 'tflite'"),
        (["--format", "onnx"], "the following arguments are required: --out"),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path, capsys, options, message):
    assert main(["export", str(tmp_path), *options]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(write, "_NEEDED", ("onnx", "no_such_module"))
    with pytest.raises(ConfigError, match=r"got no no_such_module; pip install 'sppnet-.*onnx"):
        write.require_onnx()


def test_a_graph_that_is_too_large_for_onnx_is_said(monkeypatch):
    monkeypatch.setattr(write, "MAX_ONNX_BYTES", 1000)
    with pytest.raises(ConfigError, match=r"expected a graph below .* use --format torch-export"):
        write.check_size(1001)
    write.check_size(999)
