"""The order of the boxes, which decides what a cut to the best 2,000 keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from detection.kernels.jit import jit

SIMILAR_IOU = 0.8
"""Boxes that overlap more are taken for one in `distinct_first`: the best of 0.7 to 0.95 for the
recall at IoU 0.5 and 0.7 of 100 to 3,000 boxes, on natural images that no result is stated on."""


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
    # Four corners of 16 bits in one integer: sorting integers is much faster than sorting rows.
    keys = (corners[:, 0] << 48) | (corners[:, 1] << 32) | (corners[:, 2] << 16) | corners[:, 3]
    _, first = np.unique(keys, return_index=True)
    selected: Float32[np.ndarray, "n 4"] = kept[np.sort(first)].astype(np.float32)
    return selected


def puts_distinct_first(order: str, mode: str) -> bool:
    """Return whether near-duplicates move to the end; ``auto`` does so if boxes are many."""
    return order == "distinct" or (order == "auto" and mode != "fast")


def distinct_first(boxes: Float32[np.ndarray, "r 4"]) -> Float32[np.ndarray, "r 4"]:
    """Move every box that is similar to a better ranked one to the end, keeping the order.

    A hundred groupings of one image find the same large regions again and again; a cut list then
    covers fewer objects than it could.
    """
    if len(boxes) == 0:
        return boxes
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    bands = 1 + np.floor(np.log(sides.prod(axis=1)) / -math.log(SIMILAR_IOU)).astype(np.int64)
    distinct = _is_distinct(boxes, bands, SIMILAR_IOU)
    return np.concatenate((boxes[distinct], boxes[~distinct]))


@jit
def _is_distinct(
    boxes: Float32[np.ndarray, "r 4"], bands: Int64[np.ndarray, " r"], limit: float
) -> Bool[np.ndarray, " r"]:
    """Return which boxes overlap no earlier distinct box by more than a limit.

    Boxes that do have areas that differ by less than a factor ``1 / limit``, the width of a band.
    """
    distinct = np.ones(len(boxes), np.bool_)
    head = np.full(bands.max() + 2, -1)
    following = np.full(len(boxes), -1)
    for i in range(len(boxes)):
        area = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
        # Only boxes of similar area can overlap that much: three lists hold them all, however many
        # boxes there are.
        for band in range(bands[i] - 1, bands[i] + 2):
            j = head[band]
            while j >= 0 and distinct[i]:
                width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
                height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
                if width > 0 and height > 0:
                    shared = width * height
                    other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
                    distinct[i] = shared <= limit * (area + other - shared)
                j = following[j]
        if distinct[i]:
            following[i] = head[bands[i]]
            head[bands[i]] = i
    return distinct
