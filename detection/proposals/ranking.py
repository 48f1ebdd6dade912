"""The order of the boxes, which decides what a cut to the best 2,000 keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int32


def rank_hierarchies(
    hierarchies: Sequence[Int32[np.ndarray, "_ 4"]], seed: int
) -> Int32[np.ndarray, "r 4"]:
    """Mix the boxes of several groupings, those near the top of a hierarchy first.

    A box's rank is its position in its hierarchy, counted from the whole image down, times a random
    number in [0, 1). The random numbers depend on the seed only.

    Args:
        hierarchies: boxes in order of creation.
        seed: of the random numbers.

    Source:
        Uijlings et al. 2013, §4.1.
    """
    random = np.random.default_rng(seed)
    positions = np.concatenate([np.arange(len(boxes), 0, -1) for boxes in hierarchies])
    ranks = positions * random.random(len(positions))
    return np.concatenate(hierarchies)[np.argsort(ranks, kind="stable")]


def rank_by_area(boxes: Int32[np.ndarray, "r 4"], seed: int) -> Int32[np.ndarray, "r 4"]:
    """Order boxes whose hierarchy is unknown, large ones first, as `rank_hierarchies` would.

    The position by area stands in for the position in the hierarchy. The order depends on the set
    of boxes and the seed, not on the order in which they came.
    """
    corners = boxes.astype(np.int64)
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    largest_first = np.lexsort((*corners.T, -areas))
    random = np.random.default_rng(seed)
    ranks = np.arange(1, len(boxes) + 1) * random.random(len(boxes))
    return boxes[largest_first[np.argsort(ranks, kind="stable")]]


def select_boxes(boxes: Int32[np.ndarray, "r 4"], min_side: int) -> Float32[np.ndarray, "n 4"]:
    """Drop narrow and low boxes and all but the first of equal ones; keep the order.

    Args:
        boxes: x1 y1 x2 y2.
        min_side: boxes narrower or lower than this many pixels are dropped.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = boxes[(sides >= max(min_side, 1)).all(axis=1)]
    corners = kept.astype(np.uint64)
    keys = (corners[:, 0] << 48) | (corners[:, 1] << 32) | (corners[:, 2] << 16) | corners[:, 3]
    _, first = np.unique(keys, return_index=True)
    selected: Float32[np.ndarray, "n 4"] = kept[np.sort(first)].astype(np.float32)
    return selected
