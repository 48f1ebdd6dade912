"""The order of the boxes: the paper's, its stand-in by area, and distinct boxes first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import nms

from detection.proposals.selective_search.native import selective_search
from detection.proposals.selective_search.ranking import (
    SIMILAR_IOU,
    distinct_first,
    puts_distinct_first,
    rank_by_area,
    rank_hierarchies,
    select_boxes,
)
from tests.proposals.images import shapes


def random_boxes(seed: int, count: int) -> np.ndarray:
    """Boxes of a small image, so that many are equal or similar."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, 12, (count, 2))
    return np.hstack([corners, corners + random.integers(1, 25, (count, 2))]).astype(np.int32)


def as_set(boxes: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(box) for box in boxes.tolist()}


def test_the_top_of_a_hierarchy_comes_first_on_average() -> None:
    hierarchy = np.stack([np.arange(9), np.zeros(9), np.arange(9) + 5, np.ones(9)], axis=1)
    places = np.zeros(9)
    for seed in range(500):
        order = rank_hierarchies([hierarchy.astype(np.int32)], seed)[:, 0]
        places[order] += np.arange(9)
    assert places.argmin() == 8
    assert np.all(np.diff(places) < 0)


def test_ranks_are_position_times_a_seeded_random_number() -> None:
    hierarchies = [random_boxes(0, 3), random_boxes(1, 2)]
    random = np.random.default_rng(7).random(5)
    ranks = np.array([3, 2, 1, 2, 1]) * random
    expected = np.concatenate(hierarchies)[np.argsort(ranks)]
    assert rank_hierarchies(hierarchies, 7).tolist() == expected.tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.integers(0, 60), st.integers(0, 9))
def test_the_order_by_area_does_not_depend_on_the_order_of_arrival(
    seed: int, count: int, rank_seed: int
) -> None:
    boxes = random_boxes(seed, count)
    shuffled = np.random.default_rng(seed + 1).permutation(boxes)
    ranked = rank_by_area(boxes, rank_seed)
    assert ranked.tolist() == rank_by_area(shuffled, rank_seed).tolist()
    assert sorted(ranked.tolist()) == sorted(boxes.tolist())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.integers(0, 60), st.integers(0, 20))
def test_selection_keeps_the_first_of_equal_boxes_in_order(
    seed: int, count: int, min_side: int
) -> None:
    boxes = random_boxes(seed, count)
    expected = []
    for box in boxes.tolist():
        large = min(box[2] - box[0], box[3] - box[1]) >= max(min_side, 1)
        if large and box not in expected:
            expected.append(box)
    assert select_boxes(boxes, min_side).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 999), st.integers(0, 80))
def test_distinct_boxes_are_those_that_suppression_keeps(seed: int, count: int) -> None:
    boxes = select_boxes(random_boxes(seed, count), 1)
    boxes[:, 2:] += np.random.default_rng(seed).random((len(boxes), 2), np.float32)  # no IoU is 0.8
    ordered = distinct_first(boxes)
    scores = -torch.arange(len(boxes), dtype=torch.float32)
    kept = nms(torch.from_numpy(boxes), scores, SIMILAR_IOU).numpy()
    rest = np.setdiff1d(np.arange(len(boxes)), kept)
    assert ordered.tolist() == boxes[np.concatenate((kept, rest)).astype(int)].tolist()


@pytest.mark.parametrize(
    ("order", "mode", "expected"),
    [
        ("auto", "fast", False),
        ("auto", "quality", True),
        ("auto", "paper_fast", True),
        ("paper", "quality", False),
        ("distinct", "fast", True),
    ],
)
def test_auto_puts_distinct_boxes_first_in_the_slower_modes(
    order: str, mode: str, expected: bool
) -> None:
    assert puts_distinct_first(order, mode) is expected


def test_the_order_moves_boxes_and_drops_none() -> None:
    pytest.importorskip("numba")
    paper = selective_search(shapes(), mode="quality", order="paper")
    distinct = selective_search(shapes(), mode="quality")
    assert as_set(paper) == as_set(distinct)
    assert distinct.tolist() == distinct_first(paper).tolist()
    assert paper.tolist() != distinct.tolist()
