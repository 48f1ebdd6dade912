from dataclasses import replace

import pytest
import torch

from detection.training.rois import label_rois, max_by_row
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
