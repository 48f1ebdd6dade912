"""Recall of ranked boxes, with every expected number as arithmetic."""

from __future__ import annotations

import math

import pytest
import torch

from detection.proposals.recall import RecallTable, proposal_recall
from detection.structures import GroundTruth, Proposals


def truth(image_id: str, boxes: list[list[float]], difficult: list[bool]) -> GroundTruth:
    return GroundTruth(
        image_id=image_id,
        size=(100, 100),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.zeros(len(boxes), dtype=torch.int64),
        difficult=torch.tensor(difficult, dtype=torch.bool),
    )


def actual(image_id: str, boxes: list[list[float]]) -> Proposals:
    return Proposals(
        image_id=image_id, boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    )


def example() -> RecallTable:
    """Two images, three objects that count, one difficult.

    In ``a`` the first object is covered at 0.5 by the second box (10 x 6 of 10 x 10) and exactly by
    the third; in ``b`` the first box covers the first object exactly, nothing the second.
    """
    truths = [
        truth("a", [[0, 0, 10, 10], [50, 50, 60, 60]], [False, True]),
        truth("b", [[0, 0, 20, 20], [70, 70, 90, 90]], [False, False]),
    ]
    proposals = [
        actual("a", [[50, 50, 60, 60], [0, 0, 10, 6], [0, 0, 10, 10]]),
        actual("b", [[0, 0, 20, 20]]),
    ]
    return proposal_recall(truths, proposals, ious=(0.5, 0.7), counts=(1, 2, 3))


def test_recall_counts_objects_covered_by_the_best_boxes() -> None:
    table = example()
    expected = torch.tensor([[1 / 3, 2 / 3, 2 / 3], [1 / 3, 1 / 3, 2 / 3]])
    assert torch.allclose(table.values, expected)
    assert torch.allclose(table.overall, torch.tensor([2 / 3, 2 / 3]))
    assert (table.num_images, table.num_objects, table.mean_boxes) == (2, 3, 2.0)
    assert table.ranks.tolist() == [[1, 2, math.inf], [1, 3, math.inf]]


def test_the_curve_goes_through_the_table() -> None:
    table = example()
    assert torch.equal(table.curve(table.counts), table.values)
    assert torch.equal(table.curve([10**6])[:, 0], table.overall)
    steps = table.curve(range(10))
    assert bool((steps.diff(dim=1) >= 0).all())


def test_the_text_holds_every_number() -> None:
    text = example().format()
    assert "0.333   0.667   0.667   0.667" in text
    assert "3 objects (difficult ones left out), 2 images, 2 boxes per image" in text


def test_only_numbers_that_some_image_has_more_boxes_than_are_told() -> None:
    truths = [truth("a", [[0, 0, 9, 9]], [False]), truth("b", [], [])]
    boxes = [[0.0, 0.0, 9.0, 9.0]] * 301
    table = proposal_recall(truths, [actual("a", boxes[:5]), actual("b", boxes)])
    assert table.counts == (100, 300)
    assert "100     300     all" in table.format()
    assert proposal_recall(truths, [actual("a", boxes[:5]), actual("b", boxes[:100])]).counts == ()


def test_no_proposals_cover_nothing() -> None:
    table = proposal_recall([truth("a", [[0, 0, 9, 9]], [False])], [actual("a", [])])
    assert table.overall.tolist() == [0, 0]


def test_without_objects_there_is_no_recall() -> None:
    table = proposal_recall([truth("a", [], [])], [actual("a", [[0, 0, 9, 9]])])
    assert table.num_objects == 0
    assert bool(table.overall.isnan().all())
    assert bool(proposal_recall([], []).overall.isnan().all())


def test_other_images_or_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match="same order"):
        proposal_recall([truth("a", [], [])], [actual("b", [])])
