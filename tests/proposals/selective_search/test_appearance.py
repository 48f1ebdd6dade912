from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proposals.selective_search.regions import compact, measure, random_image
from tests.reference import appearance as reference_appearance
from tests.reference import grouping as reference

pytest.importorskip("numba")


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
