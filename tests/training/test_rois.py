from dataclasses import replace

import pytest
import torch

from detection.training.rois import apart, label_rois, max_by_row
from detection.training.sampling import pool_of
from tests.training.pools import CONFIG, K, truth


def test_a_roi_is_positive_from_the_threshold_on_and_has_the_class_it_overlaps_most():
    # IoU with the object (0, 0, 10, 10): 50/100, 40/100, 10/100, 9/100, 0
    proposals = torch.tensor(
        [[0, 0, 10, 5], [0, 0, 10, 4], [0, 0, 10, 1], [0, 0, 9, 1], [50, 50, 60, 60]]
    ).float()
    rois = label_rois(proposals, truth([[0, 0, 10, 10]], [2]), K)
    pool = pool_of(rois, "a", 200, K, CONFIG)
    assert pool.positives.tolist() == [0, 5]
    assert pool.labels.tolist() == [2, K, K, K, K, 2]
    assert pool.negatives.tolist() == [1, 2]
    low = pool_of(rois, "a", 200, K, replace(CONFIG, negative_iou=(0.0, 0.5)))
    assert low.negatives.tolist() == [1, 2, 3, 4]


def test_an_image_without_objects_gives_background_only():
    rois = label_rois(torch.tensor([[0.0, 0, 10, 10]]), truth([], []), K)
    pool = pool_of(rois, "a", 200, K, replace(CONFIG, negative_iou=(0.0, 0.5)))
    assert pool.positives.tolist() == []
    assert pool.negatives.tolist() == [0]
    assert pool.labels.tolist() == [K]


@pytest.mark.parametrize("tenths", range(1, 10))
def test_so_many_tenths_of_an_object_are_not_more_and_not_less(tenths):
    """No tenth but 5/10 is a binary fraction: rounding must not decide what a box trains."""
    rois = label_rois(torch.tensor([[0.0, 0, tenths, 10]]), truth([[0, 0, 10, 10]], [2]), K)
    threshold = tenths / 10
    assert rois.best_iou[0] >= threshold
    assert not rois.best_iou[0] > threshold
    assert rois.max_iou[0].tolist() == [0, 0, threshold]
    assert max_by_row(rois.max_iou[:1], torch.zeros(1, dtype=torch.int64), 1)[0, 2] == threshold


def test_of_boxes_that_overlap_by_more_than_seven_tenths_the_earlier_stays():
    """IoU with the first: 8/10, 7/10, 0; the second overlaps the third by 7/8."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 8, 10], [0, 0, 7, 10], [50, 0, 60, 10]])
    everything = torch.ones(4, 1, dtype=torch.bool)
    assert apart(boxes, everything, 0.7)[:, 0].tolist() == [True, False, True, True]
    without_first = everything.clone()
    without_first[0] = False
    assert apart(boxes, without_first, 0.7)[:, 0].tolist() == [False, True, False, True]
    assert apart(boxes, everything, 1.0).all()


def test_each_class_drops_its_own():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 9, 10]])
    chosen = torch.tensor([[True, False, True], [True, True, False]])
    expected = [[True, False, True], [False, True, False]]
    assert apart(boxes, chosen, 0.7).tolist() == expected
    assert apart(boxes, torch.zeros(2, 3, dtype=torch.bool), 0.7).sum() == 0
