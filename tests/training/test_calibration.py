"""Probabilities come from images that the classifier has not seen, and change nothing else."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from detection.config import BBoxConfig, CalibrationConfig, SvmConfig
from detection.detector import Detector
from detection.ensemble import combine
from detection.evaluation.matching import match_detections
from detection.heads.calibration import fit_calibration
from detection.heads.hard_negatives import HardNegativeMiner
from detection.heads.layer import identity
from detection.heads.scorer import SoftmaxScorer
from detection.heads.svm import fit_linear_svms
from detection.model_io import load_detector, save_detector
from detection.training import calibration
from detection.training.calibration import HeldOut, calibrate, hold_out
from detection.training.pipeline import TrainedNetwork, train_detector
from detection.training.svms import train_heads
from tests.training import tiny

SVM = SvmConfig(norm_images=4, norm_boxes=20)


def settings(**changes):
    base = replace(tiny.config(), svm=SVM, calibration=CalibrationConfig(**changes))
    return replace(
        base,
        features=replace(base.features, layer="pool5"),
        finetune=replace(base.finetune, enabled=False),
    )


@pytest.fixture
def records(tmp_path):
    return tiny.records(tmp_path, 12)


def trained(config, records, **more):
    images = tiny.training_images(config, records)
    return train_detector(TrainedNetwork(images=images, fc=identity, tuned=None), config, **more)


def test_svms_without_some_images_are_those_of_the_other_rows():
    random = torch.Generator().manual_seed(0)
    positives = torch.randn(9, 6, generator=random).bfloat16().float() + 1
    labels = torch.arange(9) % 3
    config = SvmConfig(tolerance=1e-6, retrain_after=10_000, hard_score=-100, easy_score=-100)
    miner = HardNegativeMiner(positives, labels, 3, config)
    rows = torch.randn(4, 10, 6, generator=random).bfloat16().float()
    miner.start([("0", rows[0, :3], torch.zeros(3, 3))])
    for number, values in enumerate(rows):
        miner.add(str(number), values, torch.zeros(10, 3))
    miner.finish()
    own = torch.tensor([True, False, False] * 3)  # all of class 0
    svms, known = miner.without(frozenset({"0", "2"}), own)
    assert known.tolist() == [False, True, True]
    left = torch.cat((positives[~own], rows[1], rows[3]))
    targets = -torch.ones(len(left), 3, dtype=torch.int8)
    targets[:6] = (labels[~own][:, None] == torch.arange(3)).to(torch.int8)
    expected = fit_linear_svms(left, targets[:, 1:].contiguous(), config)
    torch.testing.assert_close(svms.weight[1:], expected.weight, rtol=1e-2, atol=1e-3)
    assert len(miner.cache) == 40 + 3


def test_each_fold_is_judged_by_svms_that_were_trained_without_it(records, monkeypatch):
    config = settings(folds=3, max_images=12)
    asked, judged = [], []
    detect = calibration._detect
    monkeypatch.setattr(
        calibration,
        "_detect",
        lambda detector, images: (
            judged.append((detector.scorer, images.records)) or detect(detector, images)
        ),
    )
    images = tiny.training_images(config, records)
    heads = train_heads(images, identity, SVM, BBoxConfig())

    def without(image_ids):
        asked.append((heads.without(image_ids), image_ids))
        return asked[-1][0]

    detector = trained(settings(enabled=False), records).with_config(config)
    assert calibrate(detector, images, HeldOut(), without).calibration is not None
    assert [scorer for scorer, _ in asked] == [scorer for scorer, _ in judged]
    names = [{record.image_id for record in its} for _, its in judged]
    assert names == [image_ids for _, image_ids in asked]
    assert [len(its) for its in names] == [4, 4, 4]
    assert len(set.union(*names)) == 12


def test_probabilities_change_no_score_and_no_rank(records):
    plain = trained(settings(enabled=False), records)
    calibrated = trained(settings(), records)
    assert plain.calibration is None
    assert calibrated.calibration.images == 12
    for record in records:
        before = plain.detect(record.path, tiny.proposals(record))
        after = calibrated.detect(record.path, tiny.proposals(record))
        for name in ("boxes", "scores", "labels"):
            assert torch.equal(getattr(before, name), getattr(after, name))
        assert before.probabilities is None
        assert torch.equal(before.confidences, before.scores)
        assert torch.equal(after.confidences, after.probabilities)
        assert ((after.probabilities > 0) & (after.probabilities < 1)).all()
        shown = after.above(calibrated.decision_threshold)
        assert (shown.probabilities >= calibrated.decision_threshold).all()
        assert len(shown.scores) == int(
            (after.probabilities >= calibrated.decision_threshold).sum()
        )


def test_a_file_keeps_the_probabilities_and_an_old_one_has_none(records, tmp_path, monkeypatch):
    detector = trained(settings(), records)
    monkeypatch.setattr("detection.model_io.load_backbone", lambda *a, **k: tiny.backbone())
    save_detector(tmp_path / "new.safetensors", detector)
    save_detector(tmp_path / "old.safetensors", replace(detector, calibration=None))
    assert load_detector(tmp_path / "new.safetensors").calibration == detector.calibration
    old = load_detector(tmp_path / "old.safetensors")
    assert old.calibration is None
    assert old.decision_threshold == 0.0


def test_held_out_images_are_judged_by_the_detector_itself(tmp_path):
    records = tiny.records(tmp_path, 24)
    config = settings(fraction=0.5)
    seen, unseen = hold_out(records, config)
    assert len(unseen) == 12
    assert seen + unseen != records
    assert sorted(r.image_id for r in seen + unseen) == sorted(r.image_id for r in records)
    detector = trained(config, seen, unseen=unseen)
    found = [detector.detect(record.path, tiny.proposals(record)) for record in unseen]
    matches = match_detections([record.truth for record in unseen], found, 2)
    expected = fit_calibration(
        [match.scores for match in matches],
        [match.outcomes > 0 for match in matches],
        sum(match.num_objects for match in matches),
        12,
    )
    assert np.allclose(detector.calibration.slope, expected.slope, rtol=1e-3)
    assert detector.calibration.right == expected.right
    assert hold_out(records, settings(fraction=0.5, enabled=False)) == (records, [])


def test_a_network_that_has_seen_all_images_is_not_calibrated_on_them(records, caplog):
    caplog.set_level(logging.INFO)
    config = settings()
    images = tiny.training_images(config, records)
    dim = images.source.extractor.feature_dim
    softmax = SoftmaxScorer(weight=torch.randn(3, dim), bias=torch.zeros(3))
    detector = Detector(
        class_names=tiny.CLASS_NAMES,
        config=config,
        extractor=images.source.extractor,
        fc=identity,
        scorer=softmax,
        regressors=None,
    )
    held = HeldOut(of_network=[])
    assert calibrate(detector, images, held, None) is detector
    assert "calibration.fraction" in caplog.text
    some = calibrate(detector, images, HeldOut(of_network=records[:5]), None)
    assert some.calibration is None or some.calibration.images == 5


@pytest.mark.parametrize("views", [{"flip": True}, {"flip": True, "scales": (48, 64)}])
def test_probabilities_are_fitted_to_the_means_over_views_that_are_shown(tmp_path, caplog, views):
    caplog.set_level(logging.INFO)
    records = tiny.records(tmp_path, 24)
    config = settings(fraction=0.5)
    config = replace(config, postprocess=replace(config.postprocess, **views))
    seen, unseen = hold_out(records, config)
    detector = trained(config, seen, unseen=unseen)
    shown = combine([detector])
    found = [shown.detect(record.path, tiny.proposals(record)) for record in unseen]
    expected = calibration.fit([record.truth for record in unseen], found, 2)
    assert detector.calibration == expected
    assert "in the views that detect averages" in caplog.text
    one = trained(settings(fraction=0.5), seen, unseen=unseen)
    assert one.calibration != expected
