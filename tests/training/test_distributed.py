import sys

import pytest

from detection.errors import ConfigError
from detection.training.distributed import Workers, _losses_named, start_workers
from detection.training.finetune import fine_tune
from tests.training import tiny

# What torchrun tells the first of two processes.
TORCHRUN = {
    "WORLD_SIZE": "2",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


def test_images_that_do_not_divide_among_the_processes_stop(tmp_path):
    config = tiny.config(images_per_batch=3)
    images = tiny.training_images(config, tiny.records(tmp_path))
    two = Workers()
    two.count = 2
    with pytest.raises(ConfigError, match="expected a multiple of the 2 processes, got 3"):
        fine_tune(images, config, tmp_path / "run", workers=two)


def test_torchrun_without_accelerate_says_what_to_install(monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ConfigError, match=r"pip install .*\[ddp\]"):
        start_workers("cpu")


GLOO = "[/w/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:3977: Connection reset by peer."


def test_a_process_that_ended_is_one_line():
    said = r"got the end of one .*reset by peer.*--resume"
    with pytest.raises(ConfigError, match=said), _losses_named(2):
        raise RuntimeError(GLOO)
    for count, said in ((1, GLOO), (2, "shapes differ")):
        with pytest.raises(RuntimeError, match=r"peer|shapes"), _losses_named(count):
            raise RuntimeError(said)
