"""The authors' .mat files, as written by scipy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from detection.config import ProposalConfig
from detection.errors import DataError
from detection.proposals.dataset import propose_dataset
from detection.proposals.mat_file import read_mat
from detection.proposals.store import ProposalStore
from detection.structures import Dataset
from tests.proposals.images import write_dataset


def cell(values: list[object]) -> np.ndarray:
    column = np.empty((len(values), 1), dtype=object)
    for index, value in enumerate(values):
        column[index, 0] = value
    return column


def write_mat(path: Path, boxes_of: dict[str, object]) -> Path:
    boxes = [np.asarray(boxes, np.float64) for boxes in boxes_of.values()]
    scipy.io.savemat(path, {"images": cell(list(boxes_of)), "boxes": cell(boxes)})
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_dataset(tmp_path / "images", 2)


BOXES = {  # y1 x1 y2 x2, 1-based and inclusive
    "other": [[1, 1, 2, 2]],
    "image1": np.zeros((0, 4)),
    "image0": [[1, 1, 120, 160], [11, 21, 30, 60]],
}


def test_corners_are_reordered_and_made_continuous(tmp_path: Path) -> None:
    boxes = read_mat(write_mat(tmp_path / "boxes.mat", BOXES))
    assert boxes["image0"].tolist() == [[0, 0, 160, 120], [20, 10, 60, 30]]
    assert boxes["image1"].shape == (0, 4)


def test_imported_boxes_replace_the_search(dataset: Dataset, tmp_path: Path) -> None:
    path = write_mat(tmp_path / "boxes.mat", BOXES)
    config = ProposalConfig(import_file=str(path), max_boxes=1)
    store = propose_dataset(dataset, config, tmp_path / "store")
    first, second = (store.load(record) for record in dataset.records)
    assert first is not None
    assert second is not None
    assert first.boxes.tolist() == [[0, 0, 160, 120]]
    assert second.boxes.shape == (0, 4)
    every = ProposalStore(tmp_path / "store", replace(config, max_boxes=0)).load(dataset.records[0])
    assert every is not None
    assert len(every.boxes) == 2


def test_another_file_has_another_store(dataset: Dataset, tmp_path: Path) -> None:
    path = write_mat(tmp_path / "boxes.mat", BOXES)
    config = ProposalConfig(import_file=str(path))
    propose_dataset(dataset, config, tmp_path / "store")
    write_mat(path, {**BOXES, "image0": [[5, 5, 50, 50]]})
    assert ProposalStore(tmp_path / "store", config).load(dataset.records[0]) is None


def test_a_missing_image_is_named(dataset: Dataset, tmp_path: Path) -> None:
    path = write_mat(tmp_path / "boxes.mat", {"image0": [[1, 1, 5, 5]]})
    config = ProposalConfig(import_file=str(path))
    with pytest.raises(DataError, match=r"boxes.mat: expected boxes of all 2 .* image1 and 1"):
        propose_dataset(dataset, config, tmp_path / "store")


@pytest.mark.parametrize(
    ("boxes", "got"),
    [
        ([[1, 1, 160, 120]], "got 1 1 160 120"),  # x and y exchanged
        ([[1, 1, 5, 5], [0, 1, 5, 5]], "box 2"),  # 0-based
        ([[9, 9, 5, 5]], "box 1"),
    ],
)
def test_boxes_outside_the_image_are_refused(
    dataset: Dataset, tmp_path: Path, boxes: object, got: str
) -> None:
    path = write_mat(tmp_path / "boxes.mat", {**BOXES, "image0": boxes})
    with pytest.raises(DataError, match=got):
        propose_dataset(dataset, ProposalConfig(import_file=str(path)), tmp_path / "store")


@pytest.mark.parametrize("boxes", [[[1, 1, 5]], [[1, 1, np.nan, 5]]])
def test_rows_that_are_no_boxes_are_refused(tmp_path: Path, boxes: object) -> None:
    with pytest.raises(DataError, match=r"image0: expected finite rows"):
        read_mat(write_mat(tmp_path / "boxes.mat", {"image0": boxes}))


@pytest.mark.parametrize(
    "data", [b"", b"no matlab file at all", b"MATLAB 7.3 MAT-file" + b" " * 500]
)
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "boxes.mat"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"boxes.mat: expected a MATLAB file"):
        read_mat(path)
    with pytest.raises(DataError, match="absent"):
        ProposalStore(tmp_path, ProposalConfig(import_file=str(tmp_path / "absent.mat")))


def test_a_matlab_file_of_something_else_is_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"x": np.eye(2)})
    with pytest.raises(DataError, match="cells named images and boxes"):
        read_mat(tmp_path / "a.mat")
