"""Cells, histograms and hierarchical grouping against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from detection.proposals.selective_search import grouping
from tests.proposals.selective_search.regions import compact, measure, random_image
from tests.reference import appearance as reference_appearance
from tests.reference import grouping as reference

pytest.importorskip("numba")

USES = [(True, True, True, True), (False, True, True, True), (False, False, False, True)]


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
