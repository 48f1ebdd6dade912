import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from detection.config import PostprocessConfig
from detection.errors import ConfigError
from detection.soft_nms import soften
from tests.reference import nms as reference
from tests.test_postprocess import random_boxes, suppress

SOFT = PostprocessConfig(first_nms=False, soft_sigma=0.5, score_threshold=0.05)


def naive(boxes, scores, labels, sigma, floor):
    """The algorithm of the paper's figure 2, of each class, on Python's numbers."""
    lowered = scores.tolist()
    for label in set(labels.tolist()):
        left = [row for row in range(len(boxes)) if labels[row] == label]
        while left:
            best = max(left, key=lambda row: (lowered[row], -row))
            if lowered[best] <= floor:
                break
            left.remove(best)
            for row in left:
                overlap = reference.iou(boxes[best].tolist(), boxes[row].tolist())
                lowered[row] *= math.exp(-(overlap**2) / sigma)
    return lowered


cases = given(
    n=st.integers(0, 60),
    seed=st.integers(0, 1000),
    sigma=st.sampled_from([0.05, 0.3, 1.0]),
    floor=st.sampled_from([0.0, 0.2]),
)


def random_case(n, seed):
    random = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 20, (n,), generator=random).float() / 20  # with many ties
    return random_boxes(n, seed), scores, torch.randint(0, 3, (n,), generator=random)


@cases
def test_scores_are_those_of_the_papers_algorithm(n, seed, sigma, floor):
    boxes, scores, labels = random_case(n, seed)
    before = scores.clone()
    actual = soften(boxes, scores, labels, sigma, floor)
    expected = torch.tensor(naive(boxes, scores, labels, sigma, floor))
    kept = expected > floor
    assert torch.allclose(actual[kept], expected[kept].float(), atol=1e-6)
    assert bool((actual[~kept] <= floor).all())
    assert torch.equal(scores, before)


@cases
def test_no_score_rises_and_the_best_of_a_class_stays(n, seed, sigma, floor):
    boxes, scores, labels = random_case(n, seed)
    actual = soften(boxes, scores, labels, sigma, floor)
    assert bool((actual <= scores).all())
    for label in labels.unique():
        own = labels == label
        assert actual[own].max() == scores[own].max()


def test_a_small_sigma_suppresses_everything_that_overlaps():
    boxes, scores, labels = random_case(50, 3)
    actual = soften(boxes, scores + 0.01, labels, 1e-9, 0.0)
    kept = [row for row in range(50) if actual[row] > 1e-6]
    for row in kept:
        others = [r for r in kept if r != row and labels[r] == labels[row]]
        assert all(reference.iou(boxes[row].tolist(), boxes[r].tolist()) < 1e-3 for r in others)


def test_detections_are_lowered_sorted_and_cut_off():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 9], [50, 50, 60, 60]])
    scores = torch.tensor([[0.9, 0.0], [0.8, 0.0], [0.06, 0.7], [0.3, 0.0]])
    found = suppress(boxes, scores, SOFT)
    assert found.labels.tolist() == [0, 1, 0, 0]  # 0.06 falls below the threshold of 0.05
    expected = [0.9, 0.7, 0.3, 0.8 * math.exp(-(0.8**2) / 0.5)]
    assert found.scores.tolist() == pytest.approx(expected, abs=1e-6)
    assert found.boxes[3].tolist() == [0, 0, 10, 8]


def test_one_thread_or_two_give_the_same_bits():
    boxes, scores, labels = random_case(300, 5)
    before = torch.get_num_threads()
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(soften(boxes, scores, labels, 0.3, 0.005))
    torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"soft_sigma": -1.0}, "soft_sigma"),
        ({"score_threshold": -0.1}, "score_threshold: expected at least 0 with soft_sigma"),
        ({"first_nms": True}, "first_nms: expected false with soft_sigma"),
        ({"second_nms": False}, "second_nms: expected true with soft_sigma"),
        ({"vote_iou": 0.5}, "vote_iou: expected 0 with soft_sigma"),
        ({"ties": "last"}, "ties: expected first with soft_sigma"),
    ],
)
def test_settings_that_contradict_it_are_refused(settings, words):
    given = {"first_nms": False, "score_threshold": 0.0, "soft_sigma": 0.3}
    with pytest.raises(ConfigError, match=words):
        PostprocessConfig(**{**given, **settings})
