"""Segmentations, and what is measured of their regions."""

from __future__ import annotations

import numpy as np

from detection.proposals.selective_search import appearance, cells


def compact(labels: np.ndarray) -> np.ndarray:
    """Number labels in the order of their first pixels, as segmentations come."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(labels.shape).astype(np.int32)


def random_image(seed: int, channels: int, height: int, width: int) -> tuple:
    random = np.random.default_rng(seed)
    planes = random.integers(0, 256, (channels, height, width)).astype(np.uint8)
    gradients = random.integers(-4080, 4081, (channels, 2, height, width)).astype(np.int16)
    return planes, gradients


def measure(labels: np.ndarray, planes: np.ndarray, gradients: np.ndarray) -> tuple:
    """Return sizes, boxes, texture, colour and pairs of the first segmentation's regions."""
    of_pixel, regions, sizes, boxes = cells.intersect_segmentations(labels)
    counts = appearance.count_codes(planes, gradients, of_pixel, len(sizes))
    pairs = cells.unique_pairs(cells.touching_cells(of_pixel))
    number = int(labels[0].max()) + 1
    sizes, boxes, counts = cells.merge_cells(regions[0], number, sizes, boxes, counts)
    texture, colour = appearance.split_counts(counts, len(planes))
    return sizes, boxes, texture, colour, cells.region_pairs(pairs, regions[0])
