from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.proposals.selective_search import appearance, cells
from tests.reference import appearance as reference_appearance
from tests.reference import grouping as reference

pytest.importorskip("numba")


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


sizes_of_maps = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12))


@settings(max_examples=100, deadline=None)
@given(sizes_of_maps, st.integers(0, 9999), st.sampled_from([1, 3]))
def test_regions_made_of_cells_are_measured_as_if_pixel_by_pixel(
    shape: tuple[int, int, int], seed: int, channels: int
) -> None:
    height, width, number = shape
    random = np.random.default_rng(seed)
    labels = np.stack([compact(random.integers(0, number, (height, width))) for _ in range(3)])
    planes, gradients = random_image(seed, channels, height, width)
    region_sizes, boxes, texture, colour, pairs = measure(labels, planes, gradients)
    own = labels[0].ravel()
    regions = [set(np.flatnonzero(own == r)) for r in range(own.max() + 1)]
    assert region_sizes.tolist() == [len(region) for region in regions]
    assert boxes.tolist() == [list(reference.box(region, width)) for region in regions]
    assert sorted(map(tuple, pairs.tolist())) == sorted(reference.neighbours(labels[0]))
    bins = [reference_appearance.texture_bins(*gradients[c]) for c in range(channels)]
    for r, region in enumerate(regions):
        pixels = sorted(region)
        expected = [np.bincount(b.ravel()[pixels], minlength=10) for row in bins for b in row]
        assert texture[r].tolist() == np.concatenate(expected).tolist()
        values = [reference_appearance.colour_bins(plane).ravel()[pixels] for plane in planes]
        counted = np.concatenate([np.bincount(v, minlength=25) for v in values])
        assert colour[r].tolist() == counted.tolist()
