import logging
from dataclasses import replace

import pytest
import torch

from detection.config import BBoxConfig, SvmConfig
from detection.errors import DataError
from detection.heads import hard_negatives
from detection.heads.layer import identity
from detection.heads.normalisation import Normaliser
from detection.heads.scorer import SvmScorer
from detection.heads.svm import Svms
from detection.training.events import Announcer
from detection.training.svms import fit_normalisers, train_heads
from tests.training import tiny

SVM = SvmConfig(norm_images=4, norm_boxes=20)


@pytest.fixture
def images(tmp_path):
    return tiny.training_images(tiny.config(), tiny.records(tmp_path, 6))


def test_the_mean_norm_of_the_sample_becomes_the_target(images):
    def halved(values):
        return values / 2

    svm, bbox = replace(SVM, feature_norm=10.0), BBoxConfig(feature_norm=20.0)
    normaliser, pool5_normaliser = fit_normalisers(images, halved, svm, bbox)
    norms = torch.cat([p.expand().norm(dim=1) for p in images.sample(4, 20, SVM.seed)])
    assert pool5_normaliser.factor == pytest.approx(20 / float(norms.mean()))
    assert normaliser.factor == pytest.approx(10 / float(norms.mean() / 2))


def test_objects_score_best_for_their_own_class_and_above_what_shows_none(images):
    heads = train_heads(images, identity, SVM, BBoxConfig())
    for example in images.examples():
        scores = heads.scorer.score(example.pool5.expand())
        objects = scores[example.rois.is_object]
        assert objects.argmax(dim=1).tolist() == example.record.truth.labels.tolist()
        empty = scores[example.rois.best_iou < 0.1]
        assert objects.amax(dim=1).min() > empty.max()
    assert heads.regressors.weight.shape == (2, 4, images.source.extractor.feature_dim)


def test_without_regression_a_scorer_is_all_there_is(images):
    dim = images.source.extractor.feature_dim
    given = SvmScorer(normaliser=Normaliser(factor=1.0), svms=Svms.zero(2, dim))
    heads = train_heads(images, identity, SVM, BBoxConfig(enabled=False), given)
    assert heads.scorer is given
    assert heads.regressors is None
    with_boxes = train_heads(images, identity, SVM, BBoxConfig(), given)
    assert with_boxes.scorer is given
    assert with_boxes.regressors is not None


def test_a_class_without_objects_is_named(images):
    names = replace(images, class_names=("red", "blue", "green"))
    with pytest.raises(DataError, match="'green'"):
        train_heads(names, identity, SVM, BBoxConfig())


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_who_listens_hears_the_objective_whatever_is_logged(images, caplog, level):
    caplog.set_level(level)
    heard = []
    announce = Announcer([heard.append])
    heads = train_heads(images, identity, SVM, BBoxConfig(), announce=announce)
    mining = [event.metrics for event in heard if event.stage == "mining"]
    assert all("objective" in metrics for metrics in mining if metrics["retrainings"])
    (last,) = [event.metrics for event in heard if event.stage == "svms"]
    assert last["retrainings"] >= 1
    weight = heads.scorer.svms.weight.double()
    assert last["objective"] > 0.5 * weight.square().sum() > 0


def test_where_nobody_listens_the_objective_costs_nothing(images, caplog, monkeypatch):
    caplog.set_level(logging.ERROR)

    def computed(*arguments):
        raise AssertionError

    monkeypatch.setattr(hard_negatives, "svm_objective", computed)
    assert train_heads(images, identity, SVM, BBoxConfig()).regressors is not None
