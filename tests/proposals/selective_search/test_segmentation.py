"""The segmentation against Felzenszwalb and Huttenlocher's algorithm on sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.proposals.selective_search import segmentation
from tests.reference import segmentation as reference

pytest.importorskip("numba")


@st.composite
def planes(draw: st.DrawFn) -> np.ndarray:
    """Images of one or three channels with few grey levels, so that many weights are equal."""
    shape = draw(st.tuples(st.sampled_from([1, 3]), st.integers(1, 7), st.integers(1, 7)))
    seed = draw(st.integers(0, 10_000))
    levels = draw(st.sampled_from([1, 2, 5, 40]))
    random = np.random.default_rng(seed)
    return random.integers(0, levels, shape).astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(planes())
def test_edges_come_once_each_in_ascending_order_and_stable(image: np.ndarray) -> None:
    weights, edges = segmentation.sort_edges(image)
    width = image.shape[2]
    expected = {
        2 * p + ((q == p + width and q != p + 1) or (width == 1)): w
        for w, p, q in reference.grid_edges(image)
    }
    assert dict(zip(edges.tolist(), weights.tolist(), strict=True)) == pytest.approx(
        expected, rel=2**-16
    )
    order = list(zip(weights.tolist(), edges.tolist(), strict=True))
    assert order == sorted(order)


@settings(max_examples=150, deadline=None)
@given(planes(), st.sampled_from([0.5, 3.0, 20.0, 200.0]), st.integers(1, 6))
def test_components_are_the_reference_s(image: np.ndarray, k: float, min_size: int) -> None:
    _, height, width = image.shape
    weights, edges = segmentation.sort_edges(image)
    steps = [(int(e) // 2, int(e) // 2 + (width if e % 2 else 1)) for e in edges]
    triples = [(float(np.float32(w)), *step) for w, step in zip(weights, steps, strict=True)]
    labels, number = segmentation.segment(weights, edges, height, width, k, min_size)
    expected = reference.segment(triples, height * width, k, min_size)
    assert labels.ravel().tolist() == expected
    assert number == max(expected) + 1


def test_two_flat_halves_are_two_components() -> None:
    image = np.zeros((1, 4, 6), np.float32)
    image[:, :, 3:] = 100
    labels, number = segmentation.segment(*segmentation.sort_edges(image), 4, 6, 50.0, 1)
    assert number == 2
    assert labels.tolist() == [[0, 0, 0, 1, 1, 1]] * 4


def test_a_component_smaller_than_min_size_joins_its_closest_neighbour() -> None:
    image = np.array([[[0, 0, 0, 90, 100, 100, 100]]], np.float32)
    edges = segmentation.sort_edges(image)
    assert segmentation.segment(*edges, 1, 7, 1.0, 1)[0].tolist() == [[0, 0, 0, 1, 2, 2, 2]]
    assert segmentation.segment(*edges, 1, 7, 1.0, 2)[0].tolist() == [[0, 0, 0, 1, 1, 1, 1]]
