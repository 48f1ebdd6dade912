"""The authors' boxes: .mat files with one list of boxes per image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from detection.errors import DataError
from detection.io.interrupts import raise_if_interrupted
from detection.io.reading import require_plain
from detection.proposals.store import ProposalStore
from detection.structures import Dataset, Proposals


def import_mat(path: Path, dataset: Dataset, store: ProposalStore) -> int:
    """Store the boxes of a .mat file for the images of a data set; return the number of boxes.

    The file holds two cells of equal length: ``images``, the names, and ``boxes``, for each image
    one row per box, ``y1 x1 y2 x2``, 1-based and inclusive, best ranked first.

    Raises:
        DataError: if the file is not such a file or lacks an image of the data set.

    Source:
        The files selective_search_data/*.mat of the R-CNN and SPPnet releases.
    """
    boxes_of = read_mat(path)
    missing = [r.image_id for r in dataset.records if r.image_id not in boxes_of]
    if missing:
        message = (
            f"{path}: expected boxes of all {len(dataset.records)} images of {dataset.name}, got "
            f"none of {', '.join(missing[:3])} and {len(missing)} in all; check the split"
        )
        raise DataError(message)
    num_boxes = 0
    for record in dataset.records:
        boxes = boxes_of[record.image_id]
        _check_inside(path, record.image_id, boxes, record.truth.size)
        store.save(
            record, Proposals(image_id=record.image_id, boxes=torch.from_numpy(boxes.copy()))
        )
        num_boxes += len(boxes)
    return num_boxes


def read_mat(path: Path) -> dict[str, Float32[np.ndarray, "r 4"]]:
    """Read the boxes of a .mat file, image name -> x1 y1 x2 y2, continuous.

    Raises:
        DataError: if the file cannot be read or lacks the two cells.
    """
    import scipy.io

    require_plain(path, "a MATLAB file", DataError)
    try:
        content: dict[str, Any] = scipy.io.loadmat(str(path), variable_names=["images", "boxes"])
    except Exception as error:  # scipy lets through whatever a broken file makes happen
        raise_if_interrupted(error)
        reason = " ".join(str(error).split())
        message = f"{path}: expected a MATLAB file of version 4 to 7.2, got {reason}"
        raise DataError(message) from error
    if "images" not in content or "boxes" not in content:
        message = f"{path}: expected cells named images and boxes, got another MATLAB file"
        raise DataError(message)
    names = [str(np.asarray(cell).reshape(-1)[0]) for cell in content["images"].reshape(-1)]
    lists = list(content["boxes"].reshape(-1))
    if len(names) != len(lists):
        message = (
            f"{path}: expected as many lists of boxes as images, got {len(lists)} and {len(names)}"
        )
        raise DataError(message)
    return {name: _convert(path, name, boxes) for name, boxes in zip(names, lists, strict=True)}


def _convert(path: Path, name: str, boxes: Any) -> Float32[np.ndarray, "r 4"]:
    """Turn 1-based inclusive ``y1 x1 y2 x2`` into continuous ``x1 y1 x2 y2``."""
    rows = np.asarray(boxes, dtype=np.float32)
    rows = rows.reshape(0, 4) if rows.size == 0 else rows
    if rows.ndim != 2 or rows.shape[1] != 4 or not np.isfinite(rows).all():
        message = f"{path}: {name}: expected finite rows y1 x1 y2 x2, got shape {rows.shape}"
        raise DataError(message)
    corners = rows[:, [1, 0, 3, 2]]
    corners[:, :2] -= 1
    return corners


def _check_inside(
    path: Path, name: str, boxes: Float32[np.ndarray, "r 4"], size: tuple[int, int]
) -> None:
    """Raise DataError if a box is inverted or leaves its image: the usual sign of swapped axes."""
    height, width = size
    limits = np.array([width, height], np.float32)
    wrong = (boxes[:, :2] < 0) | (boxes[:, 2:] > limits) | (boxes[:, 2:] <= boxes[:, :2])
    if wrong.any():
        index = int(np.flatnonzero(wrong.any(axis=1))[0])
        x1, y1, x2, y2 = boxes[index].tolist()
        message = (
            f"{path}: {name}: box {index + 1}: expected y1 x1 y2 x2 inside {height} x {width} "
            f"pixels, got {y1 + 1:g} {x1 + 1:g} {y2:g} {x2:g}; is it the same image?"
        )
        raise DataError(message)
