"""Dask's workers behind the interface of clusters; those of Ray are in test_ray_cluster.py."""

import time

import pytest

from detection.errors import DataError
from detection.io.clusters import open_cluster
from detection.io.parallel import parallel_map
from tests.io.deaths import killed, killed_once

distributed = pytest.importorskip("distributed")


def plus_one(index, item):
    return item + 1


def wait(index, item):
    time.sleep(item)
    return item


@pytest.fixture(scope="module")
def cluster():
    with open_cluster("dask", 2) as opened:
        yield opened


def test_one_cluster_serves_several_stages_and_takes_no_more_tasks_than_workers(cluster):
    taken = []

    def tasks():
        for index in range(6):
            taken.append(index)
            yield index, 10 * index

    with open_cluster("dask", 2) as again:
        spread = again.spread(plus_one, tasks())
        first = next(spread)
        assert len(taken) <= 4
        others = list(spread)
    assert sorted([first, *others]) == [(i, 10 * i + 1, "") for i in range(6)]
    assert sorted(cluster.spread(plus_one, [(0, 1)])) == [(0, 2, "")]


def test_a_result_that_does_not_come_in_time_is_an_error(cluster):
    with pytest.raises(TimeoutError, match=r"no result for 0\.5 s"):
        list(cluster.spread(wait, [(0, 5)], timeout=0.5))


def test_a_dead_worker_s_item_goes_to_another_and_one_that_kills_all_is_named(cluster, tmp_path):
    paths = [tmp_path / name for name in "abc"]
    names = ["a", "b", "c"]
    mapped = parallel_map(killed_once, paths, workers=2, names=names, backend="dask")
    assert dict(mapped) == {0: "a", 1: "b", 2: "c"}
    # Dask may blame one whose result was lost with the worker.
    with pytest.raises(DataError, match=r"^[abc]: worker processes were killed at it"):
        list(parallel_map(killed, range(3), workers=2, names=names, backend="dask"))
