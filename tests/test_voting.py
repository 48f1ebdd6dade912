import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from detection.config import PostprocessConfig
from detection.errors import ConfigError
from detection.postprocess import multiclass_nms
from detection.voting import vote
from tests.reference import nms as reference
from tests.test_postprocess import random_boxes, random_scores, suppress

VOTING = PostprocessConfig(first_nms=False, vote_iou=0.5, score_threshold=-1.0)


def test_detection_moves_to_the_weighted_mean_of_what_overlaps_it():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 4], [50, 50, 60, 60]])
    scores = torch.tensor([[2.0], [1.0], [0.5], [-0.5]])  # weights 3, 2; the third has IoU 0.4
    actual = suppress(boxes, scores, VOTING)
    assert actual.scores.tolist() == [2.0, -0.5]
    bottom = (3 * 10 + 2 * 8) / 5
    assert torch.allclose(actual.boxes, torch.tensor([[0, 0, 10, bottom], [50, 50, 60, 60]]))


def test_boxes_vote_after_they_moved_and_within_their_class():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    scores = torch.tensor([[1.0, -0.5], [0.0, -2.0]])

    def down(rows, labels):
        return boxes[rows] + torch.tensor([0.0, 1, 0, 1]) * (2 * rows + 1)[:, None]

    actual = suppress(boxes, scores, VOTING, refine=down)
    assert actual.labels.tolist() == [0, 1]
    by_hand = torch.tensor([[0.0, 5 / 3, 10, 35 / 3], [0, 1, 10, 11]])  # (2 * 1 + 1 * 3) / 3
    assert torch.allclose(actual.boxes, by_hand)


@given(n=st.integers(0, 40), seed=st.integers(0, 1000), threshold=st.sampled_from([0.3, 0.5, 1.0]))
def test_voting_equals_the_naive_loop(n, seed, threshold):
    boxes, labels = random_boxes(n, seed), torch.arange(n) % 3
    weights = random_scores(n, seed=seed) + 3
    kept = multiclass_nms(boxes, weights, labels, 0.4)
    expected = []
    for row in kept.tolist():
        voters = [
            other
            for other in range(n)
            if labels[other] == labels[row]
            and reference.iou(boxes[other].tolist(), boxes[row].tolist()) >= threshold
        ]
        total = sum(weights[other].item() for other in voters)
        votes = [weights[other].item() * boxes[other].double() for other in voters]
        expected.append(sum(votes) / total)
    moved = vote(boxes, weights, labels, kept, threshold)
    assert len(moved) == len(expected)
    for ours, theirs in zip(moved, expected, strict=True):
        assert torch.allclose(ours.double(), theirs, atol=1e-4)


def test_votes_change_neither_scores_nor_labels():
    boxes, scores = random_boxes(60), random_scores(60, 4)
    with_votes = suppress(boxes, scores, VOTING)
    without = suppress(boxes, scores, PostprocessConfig(first_nms=False, score_threshold=-1.0))
    assert torch.equal(with_votes.scores, without.scores)
    assert torch.equal(with_votes.labels, without.labels)
    assert not torch.equal(with_votes.boxes, without.boxes)


def test_box_without_area_keeps_its_place():
    boxes = torch.tensor([[5.0, 5, 5, 9], [0, 0, 10, 10]])
    assert suppress(boxes, torch.tensor([[1.0], [0.0]]), VOTING).boxes.tolist() == boxes.tolist()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"first_nms": True}, "postprocess.first_nms: expected false with vote_iou"),
        ({"second_nms": False}, "postprocess.second_nms: expected true with vote_iou"),
        ({"score_threshold": float("-inf")}, "postprocess.score_threshold: expected a finite"),
        ({"vote_iou": 1.5}, "postprocess.vote_iou: expected an IoU in"),
    ],
)
def test_voting_that_cannot_be_is_refused(settings, named):
    base = {"first_nms": False, "vote_iou": 0.5}
    with pytest.raises(ConfigError, match=named):
        PostprocessConfig(**base | settings)
