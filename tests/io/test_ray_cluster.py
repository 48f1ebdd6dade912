"""Ray's workers: a real local cluster where Ray is installed."""

import os
import signal
import time
import types

import pytest

from detection.errors import ConfigError, DataError
from detection.io import ray_cluster
from detection.io.clusters import open_cluster
from detection.io.parallel import parallel_map
from tests.io.deaths import killed, killed_once


def where(number):
    time.sleep(0.2)
    return number, os.getpid()


class Away(types.ModuleType):
    """A library that reaches nobody."""

    def is_initialized(self):
        return False

    def init(self, address, **settings):
        message = f"nobody at {address}"
        raise ConnectionError(message)


def test_a_head_that_is_away_is_one_line():
    said = "RAY_ADDRESS: expected the head .*'host:6379' .nobody at host:6379.; start one"
    with (
        pytest.raises(ConfigError, match=said),
        ray_cluster.ray_cluster(Away("away"), 2, "host:6379"),
    ):
        pass


class Grabbing(Away):
    """A library that takes SIGTERM for itself, as Ray does, and answers."""

    def init(self, address, **settings):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def cluster_resources(self):
        return {"CPU": 2}

    def shutdown(self):
        pass


def test_sigterm_does_what_it_did_before():
    before = signal.getsignal(signal.SIGTERM)
    with ray_cluster.ray_cluster(Grabbing("grabbing"), 2, "host:6379"):
        assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    with open_cluster("ray", 2) as opened:
        yield opened


@pytest.mark.filterwarnings("ignore")
def test_ray_spreads_the_items_over_both_workers(cluster):
    names = [f"item {i}" for i in range(8)]
    actual = dict(parallel_map(where, range(8), workers=2, names=names, backend="ray"))
    assert [actual[i][0] for i in range(8)] == list(range(8))
    processes = {process for _, process in actual.values()}
    assert len(processes) == 2
    assert os.getpid() not in processes


@pytest.mark.filterwarnings("ignore")
def test_a_dead_worker_s_item_goes_to_another_and_one_that_kills_all_is_named(cluster, tmp_path):
    paths = [tmp_path / name for name in "abc"]
    names = ["a", "b", "c"]
    mapped = parallel_map(killed_once, paths, workers=2, names=names, backend="ray")
    assert dict(mapped) == {0: "a", 1: "b", 2: "c"}
    with pytest.raises(DataError, match="b: a worker process was killed 4 times"):
        list(parallel_map(killed, range(3), workers=2, names=names, backend="ray"))
