"""The loops themselves; what is made of them is tested in ``test_postprocess.py``."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.kernels.nms import suppress_classes
from tests.reference import nms as reference

pytest.importorskip("numba")


def kept(boxes, scores, starts, iou=0.3, limit=100):
    """Return for each class the rows that are kept, best first."""
    rows = np.arange(len(scores))
    counts = np.zeros(len(starts) - 1, np.int64)
    suppress_classes(
        np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(scores, np.float32), rows,
        np.asarray(starts), iou, limit, counts,
    )  # fmt: skip
    return [
        rows[start : start + count].tolist()
        for start, count in zip(starts[:-1], counts.tolist(), strict=True)
    ]


def test_each_class_is_suppressed_in_its_own_range():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 10], [50, 50, 60, 60]]
    assert kept(boxes, [1, 2, 3, 4], [0, 2, 4]) == [[1], [3, 2]]


def test_an_overlap_of_the_threshold_stays():
    boxes = [[0, 0, 10, 10], [0, 0, 5, 10]]  # IoU 50 / 100
    assert kept(boxes, [2, 1], [0, 2], iou=0.5) == [[0, 1]]
    assert kept(boxes, [2, 1], [0, 2], iou=0.4999) == [[0]]


@pytest.mark.parametrize("limit", [0, 1, 2, 9])
def test_no_more_than_the_limit_is_kept(limit):
    boxes = [[20 * n, 0, 20 * n + 10, 10] for n in range(4)]
    assert kept(boxes, [1, 3, -2, -1], [0, 4], limit=limit) == [[1, 0, 3, 2][:limit]]


def test_a_class_without_candidates_keeps_none():
    assert kept([[0, 0, 1, 1]], [1], [0, 0, 1, 1]) == [[], [0], []]


@given(
    scores=st.lists(st.integers(-9, 9), max_size=60),
    seed=st.integers(0, 999),
    iou=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_one_class_is_suppressed_as_by_the_naive_loop(scores, seed, iou):
    random = np.random.default_rng(seed)
    corners = random.integers(0, 40, (len(scores), 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 30, corners.shape)], axis=1)
    expected = reference.nms(boxes.astype(float).tolist(), [float(s) for s in scores], iou)
    assert kept(boxes, scores, [0, len(scores)], iou) == [expected]
