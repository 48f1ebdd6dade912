import os
import subprocess
import sys
from pathlib import Path

import pytest

from detection.errors import ConfigError
from detection.training.distributed import Workers, start_workers
from detection.training.finetune import fine_tune
from tests.training import tiny

ROOT = Path(__file__).parents[2]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_images_that_do_not_divide_among_the_processes_stop(tmp_path):
    config = tiny.config(images_per_batch=3)
    images = tiny.training_images(config, tiny.records(tmp_path))
    two = Workers()
    two.count = 2
    with pytest.raises(ConfigError, match="expected a multiple of the 2 processes, got 3"):
        fine_tune(images, config, tmp_path / "run", workers=two)


def test_torchrun_without_accelerate_says_what_to_install(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ConfigError, match=r"pip install .*\[ddp\]"):
        start_workers("cpu")
