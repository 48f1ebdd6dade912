"""Cells, histograms and hierarchical grouping against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from detection.proposals.selective_search import appearance, cells, grouping
from tests.reference import appearance as reference_appearance
from tests.reference import grouping as reference

pytest.importorskip("numba")

USES = [(True, True, True, True), (False, True, True, True), (False, False, False, True)]


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


@settings(max_examples=60, deadline=None)
@given(sizes_of_maps, st.integers(0, 9999), st.sampled_from(USES))
def test_merges_are_the_reference_s_where_the_choice_is_clear(
    shape: tuple[int, int, int], seed: int, uses: tuple[bool, bool, bool, bool]
) -> None:
    height, width, number = shape
    random = np.random.default_rng(seed)
    labels = compact(random.integers(0, number, (height, width)))
    planes, gradients = random_image(seed, 1, height, width)
    colour_bins = [reference_appearance.colour_bins(planes[0])]
    texture_bins = reference_appearance.texture_bins(*gradients[0])
    expected, margin = reference.group(labels, colour_bins, texture_bins, uses)
    assume(margin > 1e-5)
    sizes, boxes, texture, colour, pairs = measure(labels[None], planes, gradients)
    actual = grouping.group(sizes, boxes, texture, colour, pairs, 1, labels.size, uses)
    assert actual.tolist() == [list(box) for box in expected]


@settings(max_examples=50, deadline=None)
@given(sizes_of_maps, st.integers(0, 9999))
def test_a_hierarchy_ends_with_the_whole_image(shape: tuple[int, int, int], seed: int) -> None:
    height, width, number = shape
    random = np.random.default_rng(seed)
    labels = compact(random.integers(0, number, (height, width)))
    sizes, boxes, texture, colour, pairs = measure(labels[None], *random_image(0, 3, height, width))
    for uses in USES:
        actual = grouping.group(sizes, boxes, texture, colour, pairs, 3, labels.size, uses)
        assert len(actual) == 2 * (labels.max() + 1) - 1
        assert actual[-1].tolist() == [0, 0, width, height]
