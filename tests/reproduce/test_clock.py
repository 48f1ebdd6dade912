"""What a training costs, added up over its lives."""

import json
import time

import pytest

from detection.reproduce import clock as module
from detection.reproduce.clock import clock, clock_file, cpu_seconds, read_clock


def test_the_clock_adds_lives_and_knows_of_a_kill(tmp_path):
    path = tmp_path / "one.time.json"
    with pytest.raises(ZeroDivisionError), clock(path):
        _ = 1 / 0
    first = read_clock(path)
    assert first.whole
    with clock(path):
        pass
    assert read_clock(path).seconds > first.seconds
    path.write_text(json.dumps({"seconds": 3.0, "whole": True, "running": True}))
    with clock(path):
        pass
    after = read_clock(path)
    assert after.seconds >= 3.0
    assert not after.whole


def test_processor_time_is_of_work_and_not_of_waiting(tmp_path):
    path, begin = clock_file(tmp_path / "run"), cpu_seconds()
    with clock(path):
        time.sleep(0.3)
        while cpu_seconds() < begin + 0.1:
            pass
    found = read_clock(path)
    assert found.cpu_seconds >= 0.05  # the system counts in hundredths
    assert found.seconds >= found.cpu_seconds + 0.2
    with clock(path):
        pass
    assert read_clock(path).cpu_seconds >= found.cpu_seconds


def test_processor_time_of_a_life_that_did_not_count_it_is_not_known(tmp_path):
    path = tmp_path / "old.time.json"
    path.write_text(json.dumps({"seconds": 3.0, "whole": True, "running": False}))
    with clock(path):
        pass
    assert read_clock(path).cpu_seconds is None


def test_memory_is_the_most_of_all_lives(tmp_path, monkeypatch):
    path = tmp_path / "run.time.json"
    for peak, expected in ((2.0, 2.0), (3.5, 3.5), (None, 3.5), (1.0, 3.5)):
        monkeypatch.setattr(module, "start_peak_memory", lambda peak=peak: lambda: peak)
        with clock(path):
            pass
        assert read_clock(path).peak_gib == expected


def test_a_file_that_is_no_clock_is_none(tmp_path):
    assert read_clock(tmp_path / "none.json") is None
    (tmp_path / "list.json").write_text("[]")
    assert read_clock(tmp_path / "list.json") is None
