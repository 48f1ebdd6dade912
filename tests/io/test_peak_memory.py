"""The peak memory of a part of a program's life."""

import sys

import numpy as np
import pytest

from detection.io import peak_memory as module
from detection.io.peak_memory import start_peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can begin anew")
def test_what_was_given_back_before_does_not_count_and_what_is_given_back_later_does():
    block = np.ones(2**26)  # half a GiB
    del block
    peak = start_peak_memory()
    before = peak()
    assert before is not None
    block = np.ones(2**25)
    del block
    assert peak() == pytest.approx(before + 0.25, abs=0.05)


def test_where_nothing_begins_anew_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PROCESS", tmp_path / "elsewhere")
    assert start_peak_memory()() is None


def test_a_status_without_a_peak_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PROCESS", tmp_path)
    peak = start_peak_memory()
    (tmp_path / "status").write_text("VmPeak:\t  1 kB\nVmHWM:\t 2097152 kB\nVmRSS: 3 kB\n")
    assert peak() == 2.0
    (tmp_path / "status").write_text("VmRSS: 3 kB\n")
    assert peak() is None
