from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from detection.config import ProposalConfig
from detection.errors import ConfigError, DataError
from detection.io.shards import Parallel
from detection.proposals import dataset as dataset_module
from detection.proposals import search
from detection.proposals.dataset import propose_dataset
from detection.proposals.store import ProposalStore
from detection.structures import Dataset, Proposals, Record
from tests.proposals.images import write_dataset
from tests.proposals.stores import count_searches, files

CONFIG = ProposalConfig(backend="native", workers=1)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_dataset(tmp_path / "images")


def test_stored_proposals_are_those_of_the_search(dataset: Dataset, tmp_path: Path) -> None:
    made = propose_dataset(dataset, CONFIG, tmp_path / "store")
    from detection.data.images import read_image

    for record in dataset.records:
        actual = made.load(record)
        assert actual is not None
        assert actual.image_id == record.image_id
        assert torch.equal(actual.boxes, search.propose(read_image(record.path), CONFIG).boxes)


def test_a_second_run_computes_nothing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = count_searches(monkeypatch)
    propose_dataset(dataset, CONFIG, tmp_path / "store")
    assert len(searched) == 3
    propose_dataset(dataset, CONFIG, tmp_path / "store")
    assert len(searched) == 3


def test_workers_change_nothing(dataset: Dataset, tmp_path: Path) -> None:
    propose_dataset(dataset, CONFIG, tmp_path / "one")
    propose_dataset(dataset, replace(CONFIG, workers=2), tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(files(tmp_path / "one")) == 3


def test_unreadable_images_are_named_and_the_others_kept(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "images", 4)
    dataset.records[1].path.write_bytes(b"not an image")
    dataset.records[3].path.unlink()
    with pytest.raises(DataError) as caught:
        propose_dataset(dataset, CONFIG, tmp_path / "store")
    message = str(caught.value)
    assert "2 images" in message
    assert "image1.png" in message
    assert "image3.png" in message
    assert "image0" not in message
    assert len(files(tmp_path / "store")) == 2
    made = propose_dataset(dataset, CONFIG, tmp_path / "store", max_failed=0.5)
    assert made.load(dataset.records[0]) is not None


def test_a_missing_backend_stops_before_any_image(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    searched = count_searches(monkeypatch)
    with pytest.raises(ConfigError, match=r"cv2.ximgproc"):
        propose_dataset(dataset, replace(CONFIG, backend="opencv"), tmp_path / "store")
    assert searched == []


def test_an_image_without_proposals_is_stored_as_such(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "images", 1)
    PIL.Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(dataset.records[0].path)
    made = propose_dataset(dataset, CONFIG, tmp_path / "store")
    actual = made.load(dataset.records[0])
    assert actual is not None
    assert actual.boxes.shape == (0, 4)


def test_a_killed_run_leaves_whole_files_and_is_taken_up_again(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "images", 12)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from detection.config import ProposalConfig\n"
        "from detection.proposals.dataset import propose_dataset\n"
        "from tests.proposals.images import write_dataset\n"
        "folder = Path(sys.argv[1])\n"
        "config = ProposalConfig(backend='native', workers=1)\n"
        "propose_dataset(write_dataset(folder / 'images', 12), config, folder / 'store')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    deadline = time.monotonic() + 60
    while not files(tmp_path / "store") and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    made = ProposalStore(tmp_path / "store", CONFIG)
    before = {r.image_id for r in dataset.records if made.load(r) is not None}
    assert before
    propose_dataset(dataset, CONFIG, tmp_path / "store")
    propose_dataset(dataset, CONFIG, tmp_path / "fresh")
    assert files(tmp_path / "store") == files(tmp_path / "fresh")


def test_two_runs_at_once_fill_one_store(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "images", 6)
    config = replace(CONFIG, workers=1)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(propose_dataset, dataset, config, tmp_path / "two") for _ in range(2)]
        stores = [job.result() for job in jobs]
    propose_dataset(dataset, config, tmp_path / "one")
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert all(made.load(record) is not None for made in stores for record in dataset.records)


def kill_own_process(*_: object) -> Proposals:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_killed_worker_is_named_and_finished_images_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_dataset(tmp_path / "images", 4)
    propose_dataset(replace(dataset, records=dataset.records[:1]), CONFIG, tmp_path / "store")
    monkeypatch.setattr(dataset_module, "_propose_record", kill_own_process)
    with pytest.raises(DataError, match=r"image[123]\.png"):
        propose_dataset(dataset, replace(CONFIG, workers=2), tmp_path / "store")
    assert len(files(tmp_path / "store")) == 1


def sleep_long(*_: object) -> Proposals:
    time.sleep(60)
    raise AssertionError


def test_an_image_over_the_time_limit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_dataset(tmp_path / "images", 2)
    monkeypatch.setattr(dataset_module, "_propose_record", sleep_long)
    config = replace(CONFIG, workers=2, time_limit=1.0)
    with pytest.raises(DataError, match=r"image[01]\.png"):
        propose_dataset(dataset, config, tmp_path / "store")


def test_a_folder_that_cannot_be_written_is_named(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").write_text("a file, not a folder")
    with pytest.raises(DataError, match=r"store"):
        propose_dataset(dataset, CONFIG, tmp_path / "store")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["processes", "dask", "ray"])
def test_workers_of_any_kind_fill_the_store_as_one_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    pytest.importorskip({"processes": "joblib", "dask": "distributed", "ray": "ray"}[kind])
    monkeypatch.chdir(tmp_path)
    dataset = write_dataset(Path("images"), 7)
    dataset.records[5].path.write_bytes(b"not an image")
    dataset.records[1].path.unlink()
    parallel = Parallel(kind=kind, workers=2, images=2)
    one = propose_dataset(dataset, CONFIG, Path("one"), max_failed=1.0)
    two = propose_dataset(dataset, CONFIG, Path("two"), max_failed=1.0, parallel=parallel)
    assert files(Path("two")) == files(Path("one"))
    assert len(files(Path("one"))) == 5
    assert list(two.failed.items()) == list(one.failed.items())
    assert [*one.failed] == ["image1", "image5"]


def kill_once(store: ProposalStore, max_pixels: int, record: Record) -> int:
    mark = record.path.with_suffix(".killed")
    if record.image_id == "image2" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return PLAIN(store, max_pixels, record)


PLAIN = dataset_module._propose_record


def test_a_killed_worker_of_many_is_survived_and_one_that_always_dies_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_dataset(tmp_path / "images", 5)
    parallel = Parallel(kind="processes", workers=2, images=2)
    monkeypatch.setattr(dataset_module, "_propose_record", kill_once)
    propose_dataset(dataset, CONFIG, tmp_path / "store", parallel=parallel)
    assert (tmp_path / "images/image2.killed").exists()
    assert len(files(tmp_path / "store")) == 5
    monkeypatch.setattr(dataset_module, "_propose_record", kill_own_process)
    with pytest.raises(DataError, match=r"image0\.png and the 1 after it.*: a worker process was"):
        propose_dataset(dataset, CONFIG, tmp_path / "other", parallel=parallel)
