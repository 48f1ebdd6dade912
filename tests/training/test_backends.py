"""The CPU stages on joblib's backends, with a real cluster where the backend has one."""

import os
import sys
import time

import pytest
import torch

from detection.config import ProposalConfig
from detection.errors import ConfigError, DataError, ImageError
from detection.io.parallel import parallel_map
from detection.proposals.dataset import propose_dataset
from detection.structures import Dataset
from tests.training import tiny


def where(number):
    time.sleep(0.2)
    return number, os.getpid()


def fails_on_two(number):
    if number == 2:
        message = "not wanted"
        raise ImageError(message)
    return number


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**settings) as local, distributed.Client(local) as client:
        yield client


def test_dask_spreads_the_items_over_both_workers(cluster):
    names = [f"item {i}" for i in range(8)]
    actual = dict(parallel_map(where, range(8), workers=2, names=names, backend="dask"))
    assert [actual[i][0] for i in range(8)] == list(range(8))
    processes = {process for _, process in actual.values()}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_dask_names_the_item_that_failed(cluster):
    names = ["zero", "one", "two", "three"]
    with pytest.raises(DataError, match="two: not wanted"):
        list(parallel_map(fails_on_two, range(4), workers=2, names=names, backend="dask"))


def test_proposals_from_a_cluster_are_those_of_one_process(cluster, tmp_path):
    records = tuple(tiny.records(tmp_path, 3))
    dataset = Dataset(
        name="tiny", split="train", class_names=tiny.CLASS_NAMES, records=records, notes={}
    )
    stores = [
        propose_dataset(
            dataset,
            ProposalConfig(parallel=parallel, workers=workers),
            tmp_path / parallel,
            max_pixels=10_000,
        )
        for parallel, workers in (("dask", 2), ("loky", 1), ("threading", 2))
    ]
    assert len({store.folder.name for store in stores}) == 1
    for record in records:
        boxes = [store.load(record).boxes for store in stores]
        assert len(boxes[0]) > 0
        assert torch.equal(boxes[0], boxes[1])
        assert torch.equal(boxes[0], boxes[2])


@pytest.mark.parametrize(("backend", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_a_backend_that_is_not_installed_says_so(monkeypatch, backend, module):
    monkeypatch.setitem(sys.modules, module, None)
    if backend == "ray":
        monkeypatch.setitem(sys.modules, "ray.util.joblib", None)
    with pytest.raises(ConfigError, match=f"{backend} is not installed"):
        list(parallel_map(where, [1, 2], workers=2, names=["a", "b"], backend=backend))
