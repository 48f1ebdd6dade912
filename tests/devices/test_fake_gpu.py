"""Every command gives on a GPU what it gives on the CPU, seen without a GPU.

The scenarios run in one process of their own, on the CPU and on a device that computes on the CPU
and refuses at its boundaries what a GPU refuses.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from detection.cli import main
from tests.devices.scenarios import SCENARIOS

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
ROOT = Path(__file__).parents[2]


def python(*words: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("devices")
    ran = python("-m", "tests.devices", out)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return out


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_on_the_cpu_and_on_a_device(name: str, outcomes: Path) -> None:
    wrong = json.loads((outcomes / f"{name}.json").read_text())
    assert not wrong, wrong


REFUSALS = """
import torch
from tests.devices.fake_gpu import NAME, install
install()
here, there = torch.ones(3), torch.ones(3, device=NAME)
index = torch.zeros(1, dtype=torch.int64)
refused = {
    "sum": lambda: here + there,
    "join": lambda: torch.cat((here, there)),
    "index of the device on a CPU tensor": lambda: here[index.to(NAME)],
    "scatter": lambda: there.scatter_reduce_(0, index, there[:1], "amax"),
    "numpy": lambda: there.numpy(),
    "array": lambda: __import__("numpy").asarray(there),
    "in place": lambda: there.add_(here),
    "matrix product": lambda: there[None] @ here[:, None],
}
allowed = {
    "a number": lambda: there * torch.tensor(2.0),
    "index of the CPU on the device's tensor": lambda: there[index],
    "copy": lambda: here.copy_(there),
    "back": lambda: there.cpu().numpy(),
    "item": lambda: there[0].item(),
}
for name, call in refused.items():
    try:
        call()
    except (RuntimeError, TypeError):
        continue
    print("not refused:", name)
for call in allowed.values():
    call()
"""


def test_the_fake_gpu_refuses_what_a_gpu_refuses() -> None:
    ran = python("-c", REFUSALS)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr


@pytest.mark.gpu
@NO_GPU
def test_a_gpu_refuses_the_same() -> None:
    real = REFUSALS.replace("from tests.devices.fake_gpu import NAME, install\n", 'NAME = "cuda"\n')
    ran = python("-c", real.replace("install()\n", ""))
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr


@pytest.mark.gpu
@NO_GPU
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_on_the_cpu_and_on_a_gpu(name: str, outcomes_on_cuda: Path) -> None:
    wrong = json.loads((outcomes_on_cuda / f"{name}.json").read_text())
    assert not wrong, wrong


@pytest.fixture(scope="module")
def outcomes_on_cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cuda")
    ran = python("-m", "tests.devices", "--device", "cuda", out)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return out


@pytest.mark.parametrize("verb", ["train", "pretrain", "classify-eval", "benchmark"])
@pytest.mark.parametrize("name", ["cuda:99", "xpu", "meta", "gpu"])
def test_a_device_that_is_not_there_is_one_line_before_anything_is_written(
    verb: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("train", "val"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a.jpg").write_bytes(b"")
    roots = {"pretrain": "--pretrain.root", "benchmark": "--images"}
    words = [roots.get(verb, "--data.root"), str(tmp_path), "--out", str(tmp_path / "run")]
    assert main([verb, "--features.device", name, *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: features.device: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory")]
)
def test_a_training_that_runs_out_of_memory_says_what_to_lower(
    error: RuntimeError,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("detection.training.pipeline.train", fail)
    assert main(["train", "--data.root", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: out of memory: lower features.scales, ")
    assert str(error) in line
    assert len(line.splitlines()) == 1
