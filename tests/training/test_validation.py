from dataclasses import replace

import pytest
import torch

from detection.config import FineTuneConfig
from detection.detector import Detector
from detection.errors import DataError
from detection.evaluation.voc_ap import evaluate_voc
from detection.features.factory import make_extractor
from detection.heads.layer import FcLayer, identity
from detection.training.distributed import ALONE
from detection.training.finetune import FineTuner, batches, fine_tune, split
from detection.training.finetune_model import FineTuneModel, folded
from detection.training.log import read_rows
from detection.training.solver import Snapshot
from detection.training.validation import MapValidation, map_steps
from tests.training import tiny


@pytest.fixture
def records(tmp_path):
    return tiny.records(tmp_path)


def test_the_map_is_measured_every_so_many_epochs_and_at_the_end():
    """10 images, 4 a step: an epoch is 2.5 iterations."""
    config = FineTuneConfig(epochs=8, iterations=20, images_per_batch=4, validate_map_every=3)
    assert map_steps(config, 10) == {8, 15, 20}


def test_without_epochs_the_map_is_measured_every_so_many_iterations():
    config = FineTuneConfig(iterations=10, validate_map_every=4)
    assert map_steps(config, 1000) == {4, 8, 10}
    assert map_steps(replace(config, iterations=3), 1000) == {3}
    assert map_steps(replace(config, validate_map_every=0), 1000) == frozenset()


@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
@pytest.mark.parametrize("fc_size", [0, 8])
def test_the_map_is_that_of_the_detector_that_comes_of_the_network(records, method, fc_size):
    config = tiny.config(
        method, fc_size=fc_size, joint_bbox=fc_size > 0, open_layers=1, images_per_batch=2
    )
    config = replace(
        config, postprocess=replace(config.postprocess, score_threshold=0.001, nms_iou=0.5)
    )
    images = tiny.training_images(config, records)
    network = FineTuneModel(images.source.extractor, 2, 0.5, config.finetune)
    tuner = FineTuner(
        network, batches(images, records[:4], network.extractor, config), config.finetune, ALONE
    )
    for index in range(6):
        tuner.step(index)
    validation = MapValidation(network, tuner.deltas, images, records[4:], config)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measured = validation.measure(6, ALONE)
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())
    tuned = folded(network, *tuner.deltas)
    layer = config.features.layer
    detector = Detector(
        class_names=tiny.CLASS_NAMES,
        config=config,
        extractor=make_extractor(tuned.backbone, config.features),
        fc=identity if tuned.fc is None else FcLayer(head=tuned.fc, layer=layer),
        scorer=tuned.scorer,
        regressors=tuned.regressors,
    )
    truths = [record.truth for record in records[4:]]
    found = [detector.detect(record.path, tiny.proposals(record)) for record in records[4:]]
    found = [replace(one, image_id=t.image_id) for one, t in zip(found, truths, strict=True)]
    expected = evaluate_voc(truths, found, tiny.CLASS_NAMES).map
    assert 0 < expected < 1
    assert measured == pytest.approx(expected, abs=1e-6)


def test_the_map_is_measured_at_the_scales_of_test_time(records):
    config = tiny.with_scales(tiny.config(scales=(48, 96)), 64)
    images = tiny.training_images(config, records)
    network = FineTuneModel(images.source.extractor, 2, 1.0, config.finetune)
    assert network.extractor.num_scales == 2
    seen = []
    resize = type(network.extractor).resize

    def noting(self, image):
        seen.append(self.config.scales)
        return resize(self, image)

    deltas = (torch.zeros(4), torch.ones(4))
    validation = MapValidation(network, deltas, images, records[:2], config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(network.extractor), "resize", noting)
        validation.measure(1, ALONE)
    assert set(seen) == {(64,)}


def test_half_precision_is_measured_too(records):
    config = tiny.config(joint_bbox=True)
    config = replace(config, features=replace(config.features, dtype="bfloat16"))
    images = tiny.training_images(config, records)
    network = FineTuneModel(images.source.extractor, 2, 1.0, config.finetune)
    deltas = (torch.zeros(4), torch.ones(4))
    measured = MapValidation(network, deltas, images, records[:2], config).measure(1, ALONE)
    assert 0 <= measured <= 1


def test_held_out_images_without_objects_stop_it(records):
    config = tiny.config()
    images = tiny.training_images(config, records)
    network = FineTuneModel(images.source.extractor, 2, 1.0, config.finetune)
    truth = records[0].truth
    hard = replace(records[0], truth=replace(truth, difficult=torch.ones_like(truth.difficult)))
    deltas = (torch.zeros(4), torch.ones(4))
    with pytest.raises(DataError, match=r"validate_map_every: .*got none in 1; raise"):
        MapValidation(network, deltas, images, [hard], config)


SETTINGS = {
    "epochs": 6,
    "images_per_batch": 1,
    "learning_rate": 0.05,
    "open_layers": 1,
    "joint_bbox": True,
    "validation_fraction": 0.34,
    "validate_map_every": 1,
    "log_every": 1,
}


@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
def test_the_weights_of_the_best_map_are_kept_and_resumed_bit_equal(records, tmp_path, method):
    config = tiny.config(method, **SETTINGS)
    offers = []
    offer = Snapshot.offer

    def noting(self, error, step):
        offers.append((error, step, self._network.fc8.weight.detach().clone()))
        offer(self, error, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Snapshot, "offer", noting)
        expected = fine_tune(tiny.training_images(config, records), config, tmp_path / "straight")
    assert [step for _, step, _ in offers] == [4, 8, 12, 16, 20, 24]
    best = min(offers, key=lambda one: one[0])  # the first of equals
    assert expected.scorer.weight.equal(best[2])
    rows = {row["step"]: row for row in read_rows(tmp_path / "straight")}
    assert [step for step, row in rows.items() if "validation_map" in row] == [4, 8, 12, 16, 20, 24]
    assert rows[best[1]]["validation_map"] == pytest.approx(1 - best[0])
    assert not any("validation_error" in row for row in rows.values())

    def power_cut(self, index):
        if index == 13:
            message = "power cut"
            raise OSError(message)
        return step(self, index)

    step = FineTuner.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuner, "step", power_cut)
        with pytest.raises(OSError, match="power cut"):
            fine_tune(tiny.training_images(config, records), config, tmp_path / "broken")
    images = tiny.training_images(config, records)
    actual = fine_tune(images, config, tmp_path / "broken", resume=True)
    assert actual.scorer.weight.equal(expected.scorer.weight)
    assert actual.regressors.weight.equal(expected.regressors.weight)
    assert actual.fc.fc6.weight.equal(expected.fc.fc6.weight)
    trained = expected.backbone.state_dict()
    assert all(t.equal(trained[name]) for name, t in actual.backbone.state_dict().items())


def test_looking_does_not_change_what_is_trained(records, tmp_path):
    """Where the last weights are the best ones by force, both trainings end with the same."""
    looking = tiny.config(**SETTINGS)
    blind = tiny.config(**SETTINGS | {"validate_map_every": 0, "validate_every": 10_000})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Snapshot, "restore", lambda self: None)
        first = fine_tune(tiny.training_images(looking, records), looking, tmp_path / "a")
        second = fine_tune(tiny.training_images(blind, records), blind, tmp_path / "b")
    assert first.scorer.weight.equal(second.scorer.weight)


def test_only_held_out_images_are_judged(records, tmp_path):
    config = tiny.config(**SETTINGS | {"epochs": 1})
    held_out = split(records, 0.34, config.finetune.seed)[1]
    judged = []
    detect = Detector.detect_pooled

    def noting(self, pool5, boxes, size, image_id):
        judged.append(image_id)
        return detect(self, pool5, boxes, size, image_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Detector, "detect_pooled", noting)
        fine_tune(tiny.training_images(config, records), config, tmp_path / "run")
    assert judged == [record.image_id for record in held_out]
    assert len(judged) == 2
