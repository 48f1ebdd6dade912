from types import SimpleNamespace

import pytest
import torch

from detection.benchmark import clock as module
from detection.benchmark.clock import StageClock


@pytest.fixture
def ticking(monkeypatch):
    """Let the clock show the given seconds, one after the other."""

    def set_to(*seconds):
        shown = iter(seconds)
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(shown)))

    return set_to


def test_seconds_of_a_stage_add_up_until_they_are_reset(ticking):
    ticking(1.0, 3.5, 4.0, 4.25, 10.0, 10.25)
    clock = StageClock(torch.device("cpu"))
    for name in ("conv", "fc", "conv"):
        with clock.stage(name):
            pass
    assert clock.reset() == {"conv": 2.5 + 0.25, "fc": 0.25}
    assert clock.seconds == {}


def test_a_timed_function_takes_and_returns_what_it_did(ticking):
    ticking(1.0, 2.0)
    clock = StageClock(torch.device("cpu"))
    assert clock.timed("power", pow)(2, exp=5) == 32
    assert clock.seconds == {"power": 1.0}
