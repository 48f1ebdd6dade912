from dataclasses import replace

import torch

from detection.heads.bbox_regressor import BBoxRegressors
from detection.structures import Image, Proposals
from detection.tiny import tiny_detector


def test_boxes_stay_where_they_are_with_regression_switched_off():
    plain = tiny_detector()
    random = torch.Generator().manual_seed(0)
    size = plain.extractor.feature_dim
    regressors = BBoxRegressors(weight=torch.zeros(2, 4, size), bias=torch.full((2, 4), 0.1))
    detector = replace(plain, regressors=regressors)
    pixels = torch.randint(0, 256, (80, 100, 3), dtype=torch.uint8, generator=random)
    boxes = torch.tensor([[5.0, 5.0, 60.0, 70.0], [30.0, 2.0, 95.0, 40.0]])
    image, proposals = Image(image_id="a", pixels=pixels), Proposals(image_id="a", boxes=boxes)
    everything = replace(plain.config.postprocess, score_threshold=-1e9)
    config = replace(plain.config, postprocess=everything)
    moved = detector.with_config(config).detect(image, proposals)
    off = replace(config, postprocess=replace(everything, regression=False))
    stayed = detector.with_config(off).detect(image, proposals)
    assert len(stayed.boxes) == len(moved.boxes) == 4
    assert {tuple(box) for box in stayed.boxes.tolist()} == {tuple(box) for box in boxes.tolist()}
    assert not any((boxes == box).all(dim=1).any() for box in moved.boxes)
