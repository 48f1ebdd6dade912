import os

from detection.io.cores import count_workers


def test_zero_workers_means_one_a_core() -> None:
    assert count_workers(3) == 3
    assert 1 <= count_workers(0) <= (os.cpu_count() or 1)
