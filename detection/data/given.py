"""A data set that was made in Python: checked as one that was read from files."""

from __future__ import annotations

from dataclasses import replace

import torch

from detection.config import DataConfig
from detection.data.dataset import with_every_class
from detection.data.images import read_size
from detection.errors import DataError, ImageError, is_line
from detection.structures import Dataset, GroundTruth, Record
from detection.words import counted


def checked_dataset(dataset: Dataset, config: DataConfig) -> Dataset:
    """Return a data set to train on, without the classes that have no object if so configured.

    Boxes and labels of any number type become those of a read data set.

    Args:
        dataset: of any records.
        config: whether difficult objects and empty classes count.

    Raises:
        DataError: naming the first record with a fault, or the classes without objects.
    """
    names = dataset.class_names
    if not names or len(set(names)) < len(names) or not all(n and is_line(n) for n in names):
        message = f"{dataset.name}: expected class_names that differ, got {list(names)[:20]}"
        raise DataError(message)
    seen: set[str] = set()
    for record in dataset.records:
        fault = _fault(record, len(names), seen)
        if fault:
            message = f"{dataset.name}: image {record.image_id!r}: {fault}"
            raise DataError(message)
        seen.add(record.image_id)
    records = tuple(_converted(record) for record in dataset.records)
    return with_every_class(replace(dataset, records=records), config)


def _converted(record: Record) -> Record:
    """Return the record with float32 boxes, int64 labels and boolean marks, on the CPU."""
    truth = record.truth
    truth = replace(
        truth,
        boxes=truth.boxes.detach().cpu().float(),
        labels=truth.labels.detach().cpu().long(),
        difficult=truth.difficult.detach().cpu().bool(),
    )
    return replace(record, truth=truth)


def _fault(record: Record, num_classes: int, seen: set[str]) -> str:
    """Return what is wrong with a record; nothing if it is sound."""
    truth = record.truth
    if not record.image_id or not is_line(record.image_id) or record.image_id in seen:
        return "expected an image_id of its own, got one that is empty, odd or used before"
    if truth.image_id != record.image_id:
        return f"expected the truth of this image, got that of {truth.image_id!r}"
    count = len(truth.boxes)
    lengths = (len(truth.labels), len(truth.difficult))
    if truth.boxes.shape != (count, 4) or lengths != (count, count):
        labels = counted(lengths[0], "label")
        got = f"boxes {tuple(truth.boxes.shape)}, {labels}, {lengths[1]} difficult"
        return f"expected n x 4 boxes with n labels and n times difficult, got {got}"
    if bool(((truth.labels < 0) | (truth.labels >= num_classes)).any()):
        return f"expected labels in 0..{num_classes - 1}, got {truth.labels.tolist()[:20]}"
    return _size_fault(record) or _box_fault(truth)


def _size_fault(record: Record) -> str:
    """Return whether the image is of another size than its truth says."""
    try:
        size = read_size(record.path)
    except ImageError:
        return ""  # the search for boxes counts and names images that cannot be read
    said = tuple(record.truth.size)
    return (
        "" if size == said else f"expected the size (height, width) {size} of its file, got {said}"
    )


def _box_fault(truth: GroundTruth) -> str:
    """Return what is wrong with the first bad box."""
    height, width = truth.size
    x1, y1, x2, y2 = truth.boxes.unbind(dim=1)
    sound = (x1 >= 0) & (y1 >= 0) & (x1 < x2) & (y1 < y2) & (x2 <= width) & (y2 <= height)
    sound &= torch.isfinite(truth.boxes).all(dim=1)
    if bool(sound.all()):
        return ""
    worst = truth.boxes[~sound][0].tolist()
    return f"expected boxes 0 <= x1 < x2 <= {width}, 0 <= y1 < y2 <= {height}, got {worst}"
