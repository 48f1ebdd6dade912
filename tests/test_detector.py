from dataclasses import replace

import torch

from detection.config import Config
from detection.ensemble import Ensemble
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


def test_the_repr_of_a_detector_fits_on_a_screen():
    text = repr(tiny_detector())
    assert len(text.splitlines()) == 3
    assert text.startswith("Detector: sppnet on squeezenet, SvmScorer on pool5, ")
    assert "2 classes: cat, dog\n" in text
    many = replace(tiny_detector(), class_names=tuple(f"class {n}" for n in range(1000)))
    assert "1000 classes: class 0, " in repr(many)
    assert "and 992 more" in repr(many)
    assert len(repr(many)) < 400
    both = Ensemble(class_names=("cat", "dog"), config=Config(), members=(tiny_detector(),) * 2)
    assert repr(both) == f"Ensemble of 2:\n{text}\n{text}"
