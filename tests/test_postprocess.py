import logging
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given

from detection import postprocess
from detection.boxes import iou
from detection.config import PostprocessConfig
from detection.postprocess import finalize, multiclass_nms, nms, select_candidates
from tests.reference import nms as reference


def random_boxes(n, seed=0, size=100):
    """Boxes with integer corners, so that IoU values coincide often."""
    random = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, size, (n, 2), generator=random)
    extent = torch.randint(1, size // 2, (n, 2), generator=random)
    return torch.cat((corner, corner + extent), dim=1).float()


def random_scores(*shape, seed=0):
    """Scores with many ties."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(-20, 20, shape, generator=random).float() / 10


def suppress(boxes, scores, config, refine=None, image_id=""):
    """Both steps, with a function in between that regresses; None leaves the boxes."""
    candidates = select_candidates(boxes, scores, config, image_id=image_id)
    if refine is not None:
        moved = refine(candidates.rows, candidates.labels)
        candidates = replace(candidates, boxes=moved)
    return finalize(candidates, config, image_id=image_id)


@pytest.fixture(params=["numba", "torchvision", "device"])
def engine(request, monkeypatch):
    if request.param == "numba" and not postprocess.NUMBA_AVAILABLE:
        pytest.skip("numba is not installed")
    monkeypatch.setattr(postprocess, "NUMBA_AVAILABLE", request.param == "numba")
    if request.param == "device":  # the path of a GPU, on a CPU
        monkeypatch.setattr(postprocess, "is_host", lambda boxes: False)
    return request.param


def test_box_that_overlaps_a_better_one_is_suppressed():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 30, 30]])
    assert nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.3).tolist() == [1, 2]


def test_overlap_of_exactly_the_threshold_is_kept(engine):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 5, 10]])  # IoU 50 / 100
    scores = torch.tensor([2.0, 1.0])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.499).tolist() == [0]


@pytest.mark.parametrize("tenths", range(1, 10))
def test_overlap_of_exactly_so_many_tenths_is_kept(engine, tenths):
    """No tenth but 5/10 is a binary fraction: rounding must not decide."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, tenths, 10]])
    assert nms(boxes, torch.tensor([2.0, 1.0]), tenths / 10).tolist() == [0, 1]
    boxes = torch.tensor([[0.0, 0, 1000, 10], [0, 0, 100 * tenths + 1, 10]])
    assert nms(boxes, torch.tensor([2.0, 1.0]), tenths / 10).tolist() == [0]


@pytest.mark.parametrize("seed", range(100))
def test_with_the_last_of_equal_scores_nms_is_that_of_the_releases(engine, seed):
    """3 x 100 sets with many ties, whole corners, 1-based and inclusive in the releases."""
    boxes, scores = random_boxes(60, seed, size=40), random_scores(60, seed=seed)
    corners = (boxes + torch.tensor([1.0, 1, 0, 0])).long().tolist()
    expected = reference.released_nms(corners, scores.tolist(), 0.3)
    assert nms(boxes, scores, 0.3, ties="last").tolist() == expected


def test_last_of_equal_scores_wins_where_configured(engine):
    boxes = torch.tensor([[0.0, 0, 10, 10]]).expand(4, 4).contiguous()
    boxes = torch.cat((boxes, boxes + 50))
    scores = torch.zeros(8, 2)
    for first_nms in (False, True):
        config = PostprocessConfig(ties="last", first_nms=first_nms, score_threshold=-1)
        candidates = select_candidates(boxes, scores, config)
        moved = replace(candidates, boxes=candidates.boxes + candidates.rows[:, None] / 8)
        found = finalize(moved, config)
        assert sorted(found.boxes[:, 0].tolist()) == [0.375, 0.375, 50.875, 50.875]


def test_suppressed_box_suppresses_nothing(engine):
    """B overlaps A and C, A and C do not overlap: without B, C stays."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert nms(boxes, torch.tensor([3.0, 2.0, 1.0]), 0.3).tolist() == [0, 2]


def test_first_of_equal_scores_wins(engine):
    boxes = torch.tensor([[0.0, 0, 10, 10]]).expand(4, 4).contiguous()
    assert nms(boxes, torch.zeros(4), 0.3).tolist() == [0]


@given(n=st.integers(0, 40), seed=st.integers(0, 1000), threshold=st.sampled_from([0.3, 0.5, 1.0]))
def test_nms_equals_the_naive_loop(n, seed, threshold):
    boxes, scores = random_boxes(n, seed), random_scores(n, seed=seed)
    expected = reference.nms(boxes.double().tolist(), scores.tolist(), threshold)
    assert nms(boxes, scores, threshold).tolist() == expected


@given(n=st.integers(0, 60), seed=st.integers(0, 1000))
def test_what_nms_keeps_it_keeps_again(n, seed):
    boxes, scores = random_boxes(n, seed), random_scores(n, seed=seed)
    kept = nms(boxes, scores, 0.3)
    assert nms(boxes[kept], scores[kept], 0.3).tolist() == list(range(len(kept)))


@given(n=st.integers(0, 60), seed=st.integers(0, 1000))
def test_no_two_kept_boxes_overlap_by_more(n, seed):
    boxes = random_boxes(n, seed)
    kept = boxes[nms(boxes, random_scores(n, seed=seed), 0.3)]
    overlap = iou(kept, kept) - torch.eye(len(kept))
    assert (overlap <= 0.3 + 1e-6).all()


@given(n=st.integers(1, 60), seed=st.integers(0, 1000))
def test_kept_boxes_come_best_first(n, seed):
    boxes, scores = random_boxes(n, seed), random_scores(n, seed=seed)
    kept = scores[nms(boxes, scores, 0.3)]
    assert (kept[:-1] >= kept[1:]).all()
    assert kept[0] == scores.max()


@given(n=st.integers(2, 50), seed=st.integers(0, 1000))
def test_order_of_the_boxes_does_not_matter_without_ties(n, seed):
    boxes = random_boxes(n, seed)
    random = torch.Generator().manual_seed(seed)
    scores, order = torch.rand(n, generator=random), torch.randperm(n, generator=random)
    assert torch.equal(order[nms(boxes[order], scores[order], 0.3)], nms(boxes, scores, 0.3))


@given(n=st.integers(0, 50), seed=st.integers(0, 1000), threshold=st.sampled_from([0.0, 0.3, 0.7]))
def test_each_box_that_goes_overlaps_a_better_one_that_stays(n, seed, threshold):
    boxes, scores = random_boxes(n, seed), random_scores(n, seed=seed)
    kept = nms(boxes, scores, threshold)
    gone = torch.tensor([row for row in range(n) if row not in kept.tolist()], dtype=torch.int64)
    overlap = iou(boxes[gone], boxes[kept])
    better = scores[kept][None, :] >= scores[gone][:, None]
    assert ((overlap >= threshold - 1e-6) & better & (overlap > 0)).any(dim=1).all()


@given(n=st.integers(0, 50), seed=st.integers(0, 1000), k=st.integers(1, 4))
def test_a_class_is_suppressed_as_if_it_were_alone(n, seed, k):
    boxes, scores = random_boxes(n, seed), random_scores(n, seed=seed)
    labels = torch.randint(0, k, (n,), generator=torch.Generator().manual_seed(seed))
    expected = []
    for label in range(k):
        rows = (labels == label).nonzero().flatten()
        expected += rows[nms(boxes[rows], scores[rows], 0.4)].tolist()
    assert multiclass_nms(boxes, scores, labels, 0.4).tolist() == expected


@given(n=st.integers(1, 50), seed=st.integers(0, 1000), shift=st.integers(-500, 500))
def test_nms_sees_neither_where_the_boxes_lie_nor_how_high_the_scores_are(n, seed, shift):
    boxes, scores = random_boxes(n, seed), random_scores(n, seed=seed)
    expected = nms(boxes, scores, 0.3)
    assert torch.equal(nms(boxes + shift, scores, 0.3), expected)
    assert torch.equal(nms(boxes, scores * 4 + 8, 0.3), expected)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_multiclass_nms_is_torchvisions_of_each_class(engine, threshold, seed):
    n, k = 400, 5
    fraction = 0.0 if engine == "device" else 0.1 * seed  # there float64 rounds otherwise
    boxes = random_boxes(n, seed, size=60) + fraction
    scores = random_scores(n, seed=seed)
    labels = torch.randint(0, k, (n,), generator=torch.Generator().manual_seed(seed))
    expected = []
    for label in range(k):
        rows = (labels == label).nonzero().flatten()
        single = float(np.float32(threshold))
        expected += rows[torchvision.ops.nms(boxes[rows], scores[rows], single)].tolist()
    assert multiclass_nms(boxes, scores, labels, threshold).tolist() == expected


def test_limit_keeps_the_best_of_each_class(engine):
    boxes, scores = random_boxes(200), random_scores(200)
    labels = torch.arange(200) % 3
    everything = multiclass_nms(boxes, scores, labels, 0.5)
    expected = [row for k in range(3) for row in everything[labels[everything] == k][:7].tolist()]
    assert multiclass_nms(boxes, scores, labels, 0.5, limit=7).tolist() == expected


def test_class_without_boxes_is_no_obstacle(engine):
    boxes, labels = random_boxes(4), torch.tensor([5, 5, 2, 2])
    kept = multiclass_nms(boxes, torch.zeros(4), labels, 1.0)
    assert kept.tolist() == [2, 3, 0, 1]


def test_no_boxes_give_no_detections(engine):
    detections = suppress(torch.zeros(0, 4), torch.zeros(0, 3), PostprocessConfig(), image_id="a")
    assert detections.image_id == "a"
    assert detections.boxes.shape == (0, 4)
    assert detections.scores.shape == detections.labels.shape == (0,)


def test_nothing_above_the_threshold_gives_no_detections():
    detections = suppress(random_boxes(5), torch.full((5, 2), -2.0), PostprocessConfig())
    assert len(detections.scores) == 0


def test_score_must_be_above_the_threshold():
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    scores = torch.tensor([[-1.5], [-1.4]])
    assert suppress(boxes, scores, PostprocessConfig()).boxes.tolist() == [[50, 50, 60, 60]]


def test_classes_do_not_suppress_each_other():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    detections = suppress(boxes, torch.tensor([[2.0, -9.0], [-9.0, 1.0]]), PostprocessConfig())
    assert detections.labels.tolist() == [0, 1]


def test_detections_come_best_first_over_all_classes():
    detections = suppress(random_boxes(50), random_scores(50, 4), PostprocessConfig())
    assert (detections.scores[:-1] >= detections.scores[1:]).all()
    assert len(set(detections.labels.tolist())) == 4


def test_best_hundred_of_a_class_stay():
    boxes = torch.arange(300.0)[:, None] * 20 + torch.tensor([0.0, 0, 10, 10])
    scores = torch.arange(300.0)[:, None]
    detections = suppress(boxes, scores, PostprocessConfig(max_per_class=100))
    assert detections.scores.tolist() == list(range(299, 199, -1))


def test_only_boxes_that_are_left_are_moved():
    boxes, scores = random_boxes(60), random_scores(60, 3)
    asked = []

    def refine(rows, labels):
        asked.extend(zip(rows.tolist(), labels.tolist(), strict=True))
        return boxes[rows]

    detections = suppress(boxes, scores, PostprocessConfig(), refine=refine)
    unmoved = suppress(boxes, scores, PostprocessConfig())
    assert len(asked) == len(unmoved.scores) == len(detections.scores)
    assert torch.equal(detections.boxes, unmoved.boxes)


def test_moved_boxes_suppress_once_more():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    scores = torch.tensor([[1.0], [2.0]])

    def onto_one_spot(rows, labels):
        return torch.tensor([[5.0, 5, 15, 15]]).expand(len(rows), 4)

    once = suppress(boxes, scores, PostprocessConfig(second_nms=False), refine=onto_one_spot)
    twice = suppress(boxes, scores, PostprocessConfig(), refine=onto_one_spot)
    assert once.scores.tolist() == [2, 1]
    assert twice.scores.tolist() == [2]


def test_released_rcnn_moves_before_its_only_suppression():
    """The worse box moves away from the better one and survives, unlike with ``first_nms``."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    scores = torch.tensor([[2.0], [1.0]])

    def apart(rows, labels):
        return boxes[rows] + 100 * rows[:, None].float()

    sppnet = suppress(boxes, scores, PostprocessConfig(), refine=apart)
    rcnn = suppress(boxes, scores, PostprocessConfig(first_nms=False), refine=apart)
    assert len(sppnet.scores) == 1
    assert rcnn.boxes.tolist() == [[0, 0, 10, 10], [100, 100, 110, 109]]


def test_cap_comes_first_where_the_first_suppression_is_left_out():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]])
    scores = torch.tensor([[3.0], [2.0], [1.0]])
    config = PostprocessConfig(first_nms=False, max_per_class=2)
    assert suppress(boxes, scores, config).scores.tolist() == [3]
    assert suppress(boxes, scores, PostprocessConfig(max_per_class=2)).scores.tolist() == [3, 1]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_score_that_is_not_finite_is_left_out_and_suppresses_nothing(bad, caplog):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    scores = torch.tensor([[bad], [0.5]])
    with caplog.at_level(logging.WARNING):
        detections = suppress(boxes, scores, PostprocessConfig(), image_id="000012")
    assert detections.boxes.tolist() == [[0, 0, 10, 9]]
    assert detections.num_unusable == 1
    assert "000012: expected finite boxes and scores, got 1 that are not" in caplog.text


def test_box_that_is_not_finite_is_left_out_with_all_its_scores(caplog):
    boxes = torch.tensor([[0.0, 0, torch.nan, 10], [0, 0, 10, 9]])
    with caplog.at_level(logging.WARNING):
        detections = suppress(boxes, torch.ones(2, 3), PostprocessConfig())
    assert len(detections.scores) == 3
    assert detections.num_unusable == 3
    assert "got 3 that are not" in caplog.text


def test_moved_box_that_is_not_finite_is_left_out(caplog):
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    with caplog.at_level(logging.WARNING):
        detections = suppress(
            boxes,
            torch.tensor([[1.0], [2.0]]),
            PostprocessConfig(),
            refine=lambda rows, labels: torch.tensor([[0, 0, torch.inf, 1.0], [1, 1, 5, 5]]),
        )
    assert detections.boxes.tolist() == [[1, 1, 5, 5]]
    assert detections.num_unusable == 1
    assert "got 1 that are not" in caplog.text


def test_finite_input_warns_of_nothing(caplog):
    with caplog.at_level(logging.WARNING):
        actual = suppress(random_boxes(20), random_scores(20, 3), PostprocessConfig())
    assert not caplog.records
    assert actual.num_unusable == 0


def test_suppressing_leaves_its_input_as_it_was():
    boxes, scores = random_boxes(30), random_scores(30, 2)
    copies = boxes.clone(), scores.clone()
    suppress(boxes, scores, PostprocessConfig())
    assert torch.equal(boxes, copies[0])
    assert torch.equal(scores, copies[1])
