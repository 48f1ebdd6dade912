"""Proposals on disk: never stale, never half written, nothing computed twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest
import torch

from detection.config import ProposalConfig
from detection.proposals import store
from detection.proposals.dataset import propose_dataset
from detection.proposals.store import ProposalStore, store_parameters
from detection.structures import Dataset
from tests.proposals.images import shapes, write_dataset
from tests.proposals.stores import count_searches

CONFIG = ProposalConfig(backend="native", workers=1)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_dataset(tmp_path / "images")


def test_the_cut_and_the_number_of_workers_are_not_part_of_the_key(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = count_searches(monkeypatch)
    propose_dataset(dataset, replace(CONFIG, max_boxes=5), tmp_path / "store")
    more = propose_dataset(dataset, replace(CONFIG, max_boxes=0, workers=2), tmp_path / "store")
    assert len(searched) == 3
    actual = more.load(dataset.records[0])
    assert actual is not None
    assert len(actual.boxes) > 5
    few = ProposalStore(tmp_path / "store", replace(CONFIG, max_boxes=5)).load(dataset.records[0])
    assert few is not None
    assert torch.equal(few.boxes, actual.boxes[:5])


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"sigma": 0.7}, {"mode": "paper_fast"}, {"min_side": 10}, {"base_k": 100}],
)
def test_other_parameters_have_another_folder(
    dataset: Dataset, tmp_path: Path, change: dict[str, object]
) -> None:
    propose_dataset(dataset, CONFIG, tmp_path)
    assert ProposalStore(tmp_path, replace(CONFIG, **change)).load(dataset.records[0]) is None
    assert ProposalStore(tmp_path, CONFIG).load(dataset.records[0]) is not None


def test_another_version_of_the_search_is_not_used(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    propose_dataset(dataset, CONFIG, tmp_path)
    monkeypatch.setattr(store, "backend_version", lambda _: "another")
    assert ProposalStore(tmp_path, CONFIG).load(dataset.records[0]) is None


def test_a_replaced_image_is_searched_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = propose_dataset(dataset, CONFIG, tmp_path / "store")
    before = made.load(dataset.records[1])
    PIL.Image.fromarray(shapes(99)).save(dataset.records[1].path)
    assert made.load(dataset.records[1]) is None
    searched = count_searches(monkeypatch)
    propose_dataset(dataset, CONFIG, tmp_path / "store")
    assert searched == ["image1"]
    after = made.load(dataset.records[1])
    assert before is not None
    assert after is not None
    assert not torch.equal(before.boxes, after.boxes)


@pytest.mark.parametrize("keep", [0, 5, 0.5, -10])
def test_a_truncated_file_is_rebuilt(
    dataset: Dataset, tmp_path: Path, keep: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = propose_dataset(dataset, CONFIG, tmp_path / "store")
    path = made.path("image2")
    good = path.read_bytes()
    path.write_bytes(good[: int(len(good) * keep) if isinstance(keep, float) else keep])
    searched = count_searches(monkeypatch)
    propose_dataset(dataset, CONFIG, tmp_path / "store")
    assert searched == ["image2"]
    assert len(path.read_bytes()) == len(good)
    assert made.load(dataset.records[2]) is not None


def test_a_flipped_bit_is_noticed(dataset: Dataset, tmp_path: Path) -> None:
    made = propose_dataset(dataset, CONFIG, tmp_path / "store")
    path = made.path("image0")
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)
    assert made.load(dataset.records[0]) is None


def test_a_file_of_another_image_is_not_used(dataset: Dataset, tmp_path: Path) -> None:
    made = propose_dataset(dataset, CONFIG, tmp_path / "store")
    made.path("image0").write_bytes(made.path("image1").read_bytes())
    assert made.load(dataset.records[0]) is None


@pytest.mark.parametrize("image_id", ["a/../b", "..", ".hidden", "a b", "日本" * 60, "x" * 300])
def test_any_identifier_has_a_file_inside_the_store(tmp_path: Path, image_id: str) -> None:
    made = ProposalStore(tmp_path, CONFIG)
    path = made.path(image_id)
    assert path.parent == made.folder
    assert len(path.name.encode()) < 200
    assert not path.name.startswith(".")


def test_different_identifiers_have_different_files(tmp_path: Path) -> None:
    made = ProposalStore(tmp_path, CONFIG)
    names = ["a/b", "a%2Fb", "a_b", ".a", "a", "x" * 300, "x" * 301, "..", "."]
    assert len({made.path(name) for name in names}) == len(names)


def test_parameters_name_backend_version_and_every_number() -> None:
    parameters = store_parameters(CONFIG)
    assert parameters["backend"] == "native"
    assert {"version", "mode", "base_k", "inc_k", "sigma", "min_side", "max_side", "seed"} < set(
        parameters
    )
    opencv = store_parameters(replace(CONFIG, backend="opencv"))
    assert opencv["version"] != parameters["version"]
