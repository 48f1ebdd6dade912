from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from detection.errors import DataError
from detection.runs.fingerprint import NAME, describe_data, require_same_data
from detection.structures import Dataset, Record
from tests.training import tiny


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    (tmp_path / "images").mkdir()
    return Dataset(
        name="tiny",
        split="train",
        class_names=tiny.CLASS_NAMES,
        records=tuple(tiny.records(tmp_path / "images", 3)),
        notes={},
    )


def with_truth(dataset: Dataset, **changes: object) -> Dataset:
    """Change the ground truth of the first image."""
    first, *others = dataset.records
    truth = dataclasses.replace(first.truth, **changes)
    record = Record(image_id=first.image_id, path=first.path, truth=truth)
    return dataclasses.replace(dataset, records=(record, *others))


def test_the_same_data_is_the_same_and_counted(dataset: Dataset) -> None:
    described = describe_data(dataset)
    assert described == describe_data(dataset)
    assert (described["num_images"], described["num_objects"]) == (3, 4)
    assert described["class_names"] == ["red", "blue"]


def test_every_change_of_the_data_changes_the_hash(dataset: Dataset) -> None:
    truth = dataset.records[0].truth
    reversed_order = dataclasses.replace(dataset, records=dataset.records[::-1])
    fewer = dataclasses.replace(dataset, records=dataset.records[:2])
    changed = [
        reversed_order,
        fewer,
        with_truth(dataset, boxes=truth.boxes + 1),
        with_truth(dataset, labels=1 - truth.labels),
        with_truth(dataset, difficult=torch.ones_like(truth.difficult)),
        with_truth(dataset, size=(65, 96)),
    ]
    hashes = {describe_data(one)["sha256"] for one in [dataset, *changed]}
    with dataset.records[0].path.open("ab") as file:
        file.write(b"more")
    hashes.add(describe_data(dataset)["sha256"])
    dataset.records[0].path.unlink()
    hashes.add(describe_data(dataset)["sha256"])
    assert len(hashes) == 9


def test_a_run_goes_on_with_the_same_data(dataset: Dataset, tmp_path: Path) -> None:
    described = describe_data(dataset)
    require_same_data(tmp_path, described)
    require_same_data(tmp_path, described)
    assert json.loads((tmp_path / NAME).read_text()) == described


def test_other_data_stop_with_what_changed_unless_overridden(
    dataset: Dataset, tmp_path: Path
) -> None:
    require_same_data(tmp_path, describe_data(dataset))
    fewer = describe_data(dataclasses.replace(dataset, records=dataset.records[:2]))
    with pytest.raises(DataError, match=r"num_images: 3 -> 2; .*--override"):
        require_same_data(tmp_path, fewer)
    require_same_data(tmp_path, fewer, override=True)
    require_same_data(tmp_path, fewer)


@pytest.mark.parametrize("content", ["", "{", "\0"])
def test_a_damaged_file_is_named(dataset: Dataset, tmp_path: Path, content: str) -> None:
    (tmp_path / NAME).write_text(content)
    with pytest.raises(DataError, match=rf"{NAME}: expected JSON, got .*--override"):
        require_same_data(tmp_path, describe_data(dataset))


def test_a_file_of_another_form_is_other_data(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("[]")
    with pytest.raises(DataError, match="split: None -> 'train'"):
        require_same_data(tmp_path, describe_data(dataset))
