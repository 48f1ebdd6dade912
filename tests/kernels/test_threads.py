import threading

import pytest
import torch

from detection.kernels.threads import in_threads


@pytest.fixture(params=[1, 2, 3, 8])
def threads(request, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: request.param)
    return request.param


@pytest.mark.parametrize("step", [1, 4, 64])
@pytest.mark.parametrize("length", [1, 7, 64, 100])
def test_the_parts_are_the_whole_without_a_gap_or_a_repetition(threads, length, step):
    parts = []
    in_threads(lambda start, stop: parts.append((start, stop)), length, step)
    parts.sort()
    assert [start for start, _ in parts] == [0, *(stop for _, stop in parts[:-1])]
    assert parts[-1][1] == length
    assert all(start % step == 0 for start, _ in parts)
    assert len(parts) == min(threads, -(-length // step))


def test_the_thread_that_calls_does_the_last_part_itself(threads):
    where = {}
    in_threads(lambda start, stop: where.update({stop: threading.get_ident()}), 100)
    assert where[100] == threading.get_ident()
    assert sum(ident == threading.get_ident() for ident in where.values()) == 1


def test_an_error_of_any_part_is_raised(threads):
    def fail(start, stop):
        if start == 0:
            message = "the first part"
            raise ValueError(message)

    with pytest.raises(ValueError, match="the first part"):
        in_threads(fail, 100)
