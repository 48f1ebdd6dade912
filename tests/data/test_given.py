from dataclasses import replace

import pytest
import torch

from detection.config import DataConfig
from detection.data.given import checked_dataset
from detection.errors import DataError
from detection.structures import Dataset
from tests.training import tiny


@pytest.fixture
def dataset(tmp_path):
    return Dataset(
        name="mine",
        split="train",
        class_names=tiny.CLASS_NAMES,
        records=tuple(tiny.records(tmp_path, 3)),
        notes={},
    )


def with_truth(dataset, **changes):
    first, *others = dataset.records
    first = replace(first, truth=replace(first.truth, **changes))
    return replace(dataset, records=(first, *others))


def test_a_sound_data_set_comes_back(dataset):
    checked = checked_dataset(dataset, DataConfig())
    assert checked.class_names == dataset.class_names
    for before, after in zip(dataset.records, checked.records, strict=True):
        assert after.path == before.path
        assert after.truth.boxes.equal(before.truth.boxes)


def test_numbers_of_other_types_are_converted(dataset):
    truth = dataset.records[0].truth
    changed = with_truth(
        dataset,
        boxes=truth.boxes.double(),
        labels=truth.labels.int(),
    )
    after = checked_dataset(changed, DataConfig()).records[0].truth
    assert (after.boxes.dtype, after.labels.dtype) == (torch.float32, torch.int64)
    assert after.boxes.equal(truth.boxes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"labels": torch.tensor([2])}, r"expected labels in 0\.\.1, got \[2\]"),
        ({"boxes": torch.tensor([[5.0, 5, 97, 30]])}, r"x2 <= 96, .*got \[5\.0, 5\.0, 97\.0"),
        ({"boxes": torch.tensor([[5.0, 5, 5, 30]])}, "expected boxes 0 <= x1 < x2"),
        ({"boxes": torch.tensor([[float("nan"), 5, 9, 30]])}, "expected boxes 0 <= x1 < x2"),
        ({"size": (96, 64)}, r"expected the size \(height, width\) \(64, 96\) of its file"),
        ({"image_id": "other"}, "expected the truth of this image, got that of 'other'"),
    ],
)
def test_the_first_fault_is_named_with_its_image(dataset, changes, match):
    with pytest.raises(DataError, match=rf"^mine: image 'tiny0': .*{match}"):
        checked_dataset(with_truth(dataset, **changes), DataConfig())


def test_boxes_and_labels_of_different_numbers_are_refused(dataset):
    truth = dataset.records[0].truth
    # as outside of the tests, where nothing looks at shapes when a value is made
    object.__setattr__(truth, "labels", torch.tensor([0, 0]))
    with pytest.raises(DataError, match=r"got boxes \(1, 4\), 2 labels, 1 difficult"):
        checked_dataset(dataset, DataConfig())


def test_an_image_that_comes_twice_is_refused(dataset):
    twice = replace(dataset, records=(*dataset.records, dataset.records[0]))
    with pytest.raises(DataError, match="image 'tiny0': expected an image_id of its own"):
        checked_dataset(twice, DataConfig())


def test_class_names_that_are_equal_are_refused(dataset):
    with pytest.raises(DataError, match="mine: expected class_names that differ"):
        checked_dataset(replace(dataset, class_names=("a", "a")), DataConfig())


def test_a_class_without_objects_stops_or_is_dropped(dataset):
    more = replace(dataset, class_names=("red", "blue", "green"))
    with pytest.raises(DataError, match=r"mine: expected objects of every class.*'green'"):
        checked_dataset(more, DataConfig())
    dropped = checked_dataset(more, DataConfig(drop_empty_classes=True))
    assert dropped.class_names == ("red", "blue")


def test_an_unreadable_image_is_left_to_the_search_for_boxes(dataset, tmp_path):
    first, *others = dataset.records
    gone = replace(first, path=tmp_path / "gone.png")
    checked = checked_dataset(replace(dataset, records=(gone, *others)), DataConfig())
    assert len(checked.records) == 3
