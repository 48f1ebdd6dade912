from dataclasses import replace

import torch

from detection.training.rois import label_rois
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
