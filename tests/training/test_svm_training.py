from dataclasses import replace

import pytest
import torch

from detection.config import SvmConfig
from detection.heads.layer import identity
from detection.heads.normalisation import Normaliser
from detection.heads.scorer import SvmScorer
from detection.heads.svm import Svms
from detection.structures import GroundTruth, RoIFeatures
from detection.training.examples import TrainingExample
from detection.training.rois import label_rois
from detection.training.svm_training import FixedScorer, SvmTraining, objects_of
from tests.training import tiny

CONFIG = SvmConfig(random_negatives=5)
NORMALISER = Normaliser(factor=2.0)


@pytest.fixture
def images(tmp_path):
    return tiny.training_images(tiny.config(), tiny.records(tmp_path, 6))


def test_every_object_is_known_with_its_class_and_image(images):
    fewer = replace(images, records=[images.records[0], images.records[3]])
    objects = objects_of(fewer, identity, NORMALISER, CONFIG)
    truths = [record.truth for record in fewer.records]
    assert objects.labels.tolist() == [label for t in truths for label in t.labels.tolist()]
    places = [place for place, t in enumerate(truths) for _ in t.labels]
    assert objects.images.tolist() == places
    assert objects.features.dtype == torch.bfloat16


def test_a_class_without_other_examples_detects_nothing(images):
    objects = objects_of(images, identity, NORMALISER, CONFIG)
    training = SvmTraining(objects, images, identity, NORMALISER, CONFIG)
    training.begin(images)
    before = training.finish()
    red = frozenset(r.image_id for r in images.records if 0 in r.truth.labels.tolist())
    scorer = training.without(red)
    features = torch.randn(5, images.source.extractor.feature_dim)
    scores = scorer.score(features)
    assert scores[:, 0].max() < -1e5
    assert scores[:, 1].isfinite().all()
    assert torch.equal(training.finish().svms.weight, before.svms.weight)


def test_a_scorer_that_is_given_stays(images):
    dim = images.source.extractor.feature_dim
    given = SvmScorer(normaliser=NORMALISER, svms=Svms.zero(2, dim))
    training = FixedScorer(given)
    training.begin(images)
    training.add(next(images.examples()))
    assert training.finish() is given
    assert training.state().tensors == training.fixed() == {}


def test_a_feature_row_is_a_negative_while_one_of_its_boxes_is(images):
    """Boxes 0 and 1 overlap by 9/10 and share a row; box 2 overlaps box 0 by 8/10; 3 is alone."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 9, 10], [0, 0, 8, 10], [50, 50, 60, 60]])
    truth = GroundTruth(
        image_id="a",
        size=(80, 80),
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.int64),
        difficult=torch.zeros(0, dtype=torch.bool),
    )
    dim = images.source.extractor.feature_dim
    pool5 = RoIFeatures(values=torch.eye(3, dim), rows=torch.tensor([0, 0, 1, 2]))
    rois = label_rois(boxes, truth, 2)
    example = TrainingExample(record=images.records[0], rois=rois, pool5=pool5)
    objects = objects_of(images, identity, NORMALISER, CONFIG)

    def max_iou(overlap):
        config = replace(CONFIG, negative_overlap=overlap)
        return SvmTraining(objects, images, identity, NORMALISER, config)._rows(example)[2]

    assert max_iou(1.0).tolist() == [[0, 0], [0, 0], [0, 0]]
    assert max_iou(0.7).tolist() == [[0, 0], [1, 1], [0, 0]]
