from dataclasses import replace

import pytest
import torch
from torch import nn

from detection.boxes import decode_deltas
from detection.errors import ConfigError, DataError
from detection.features.factory import make_extractor
from detection.structures import Proposals
from detection.training.checkpoint import load_latest
from detection.training.distributed import ALONE
from detection.training.feature_cache import FrozenMaps
from detection.training.finetune import (
    FineTuner,
    batches,
    bbox_loss,
    fine_tune,
    maps_of,
    pool5_factor,
    split,
    with_iterations,
)
from detection.training.finetune_model import FineTuneModel, folded
from detection.training.log import read_rows
from detection.training.loop import run_steps
from tests.training import tiny

METHODS = ("sppnet", "rcnn")


@pytest.fixture
def records(tmp_path):
    return tiny.records(tmp_path)


def tune(records, folder, method="sppnet", **settings):
    config = tiny.config(method, **settings)
    images = tiny.training_images(config, records)
    before = {n: t.clone() for n, t in images.source.extractor.backbone.state_dict().items()}
    tuned = fine_tune(images, config, folder)
    given = images.source.extractor.backbone.state_dict()
    assert all(torch.equal(given[name], before[name]) for name in before)  # a new one is trained
    return tuned, before, tuned.backbone.state_dict()


def changed(before, after):
    return {name.removeprefix("trunk.") for name in before if not before[name].equal(after[name])}


ALL = {"0.weight", "0.bias", "2.weight", "2.bias"}


@pytest.mark.parametrize(
    ("method", "open_layers", "expected"),
    [
        ("sppnet", -1, set()),
        ("sppnet", 0, set()),
        ("sppnet", 1, {"2.weight", "2.bias"}),
        ("sppnet", 2, ALL),
        ("rcnn", -1, ALL),
        ("rcnn", 1, {"2.weight", "2.bias"}),
        ("rcnn", 0, set()),
    ],
)
def test_exactly_the_declared_layers_are_trained(records, tmp_path, method, open_layers, expected):
    settings = {"open_layers": open_layers, "iterations": 3, "images_per_batch": 2}
    _, before, after = tune(records, tmp_path / "run", method, **settings)
    assert changed(before, after) == expected


def test_more_open_layers_than_there_are_stop():
    extractor = make_extractor(tiny.backbone(), tiny.config().features)
    with pytest.raises(ConfigError, match="expected at most 2 for tiny, got 3"):
        extractor.unfreeze(3)


def test_batch_normalisation_keeps_its_statistics_and_weights(records):
    config = tiny.config(open_layers=1, images_per_batch=2)
    backbone = tiny.backbone()
    backbone.trunk[2] = nn.Sequential(backbone.trunk[2], nn.BatchNorm2d(8).eval())
    extractor = make_extractor(backbone.requires_grad_(False), config.features)
    images = replace(
        tiny.training_images(config, records),
        source=type(tiny.training_images(config, records).source)(
            extractor, max_pixels=10_000, budget=0
        ),
    )
    network = FineTuneModel(extractor, 2, 1.0, config.finetune)
    tuner = FineTuner(
        network, batches(images, records, network.extractor, config), config.finetune, ALONE
    )
    before = {n: t.clone() for n, t in backbone.trunk[2][1].state_dict().items()}
    tuner.step(0)
    assert all(before[n].equal(t) for n, t in backbone.trunk[2][1].state_dict().items())
    assert not any(p.requires_grad for p in backbone.trunk[2][1].parameters())


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_falls_and_held_out_rois_are_recognised(records, tmp_path, method):
    _, _, _ = tune(
        records,
        tmp_path / "run",
        method,
        iterations=60,
        images_per_batch=2,
        fc_size=16,
        open_layers=2,
        joint_bbox=True,
        learning_rate=0.02,
        dropout=0.0,
        validation_fraction=0.34,
        validate_every=30,
        validation_batches=4,
    )
    rows = read_rows(tmp_path / "run")
    assert rows[-1]["loss_class"] < 0.6 * rows[0]["loss_class"]
    assert rows[-1]["loss_bbox"] < rows[0]["loss_bbox"]
    errors = [row["validation_error"] for row in rows if "validation_error" in row]
    assert len(errors) == 2
    # a quarter of the RoIs are objects: calling all of them background is wrong for 0.25
    assert min(errors) < 0.2


@pytest.mark.parametrize("fc_size", [0, 8])
def test_the_folded_parts_say_what_the_network_says(records, fc_size):
    config = tiny.config(fc_size=fc_size, joint_bbox=True, open_layers=1, images_per_batch=2)
    images = tiny.training_images(config, records)
    extractor = images.source.extractor
    network = FineTuneModel(extractor, 2, pool5_factor(images, config.finetune), config.finetune)
    extractor = network.extractor
    its = batches(images, records, extractor, config)
    tuner = FineTuner(network, its, config.finetune, ALONE)
    tuner.step(0)
    samples = its.sampler.draw(1)
    network.eval()
    with torch.no_grad():
        logits, deltas = network(samples, maps_of(its, samples))
        mean, deviation = tuner.deltas
        expected_deltas = deltas * deviation + mean
        tuned = folded(network, mean, deviation)
        pool5 = torch.cat(
            [
                extractor.pool(
                    extractor.run_trainable(its.maps.of(s.index, flipped=s.flipped)), s.boxes
                ).expand()
                for s in samples
            ]
        )
        read = tuned.fc(pool5, "fc7") if tuned.fc is not None else pool5
        scores = tuned.scorer.score(read)
        found_deltas = tuned.regressors.deltas(read)
    assert tuned.regressors.reads == "scored"
    torch.testing.assert_close(scores, logits.softmax(dim=1)[:, :2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found_deltas, expected_deltas, rtol=1e-4, atol=1e-4)


def test_published_fc_layers_are_taken_over_and_read_pool5_as_it_is(records):
    config = tiny.config()
    backbone = tiny.backbone()
    dim = 8 * 50
    backbone.fc = nn.Sequential()
    backbone.fc.add_module("fc6", nn.Linear(dim, 12))
    backbone.fc.add_module("fc7", nn.Linear(12, 12))
    extractor = make_extractor(backbone, config.features)
    network = FineTuneModel(extractor, 2, 0.1, config.finetune)
    assert network.factor == 1.0
    assert torch.equal(network.fc.fc6.weight, backbone.fc.fc6.weight)
    assert network.fc8.in_features == 12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_broken_off_fine_tuning_resumes_bit_equal(records, tmp_path, method, ema_decay):
    settings = {"open_layers": 1, "images_per_batch": 2, "validate_every": 4}
    settings |= {"validation_fraction": 0.34, "validation_batches": 2, "joint_bbox": True}
    settings["ema_decay"] = ema_decay
    config = tiny.config(method, **settings)
    straight = tiny.training_images(config, records)
    expected = fine_tune(straight, config, tmp_path / "straight")

    def power_cut(self, index):
        if index == 8:
            message = "power cut"
            raise OSError(message)
        return step(self, index)

    step = FineTuner.step
    broken = tiny.training_images(config, records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuner, "step", power_cut)
        with pytest.raises(OSError, match="power cut"):
            fine_tune(broken, config, tmp_path / "broken")
    resumed = tiny.training_images(config, records)
    actual = fine_tune(resumed, config, tmp_path / "broken", resume=True)
    assert actual.scorer.weight.equal(expected.scorer.weight)
    assert actual.regressors.weight.equal(expected.regressors.weight)
    assert actual.fc.fc6.weight.equal(expected.fc.fc6.weight)
    for name, value in straight.source.extractor.backbone.state_dict().items():
        assert resumed.source.extractor.backbone.state_dict()[name].equal(value)


def test_the_global_random_state_is_neither_used_nor_changed(records, tmp_path):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, _, _ = tune(records, tmp_path / "a", iterations=3)
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(2)
    second, _, _ = tune(records, tmp_path / "b", iterations=3)
    assert first.scorer.weight.equal(second.scorer.weight)


def test_a_diverging_training_stops_and_keeps_the_last_good_state(records, tmp_path):
    with pytest.raises(DataError, match=r"step \d+: expected a finite loss.*rate 1e\+30.*tiny"):
        tune(records, tmp_path / "run", learning_rate=1e30, checkpoint_every=1)
    state = load_latest(tmp_path / "run")
    assert state is not None
    assert state.step >= 1


def test_the_box_loss_counts_each_positive_for_its_own_class():
    deltas = torch.zeros(3, 2, 4)
    deltas[0, 1] = torch.tensor([0.5, 0.0, 0.0, 3.0])
    deltas[0, 0] = 100.0  # of another class
    deltas[2] = 100.0  # background
    targets = torch.zeros(3, 4)
    labels = torch.tensor([1, 0, 2])
    # smooth L1: 0.5 * 0.5^2 and 3 - 0.5
    assert float(bbox_loss(deltas, targets, labels)) == pytest.approx(0.125 + 2.5)


def test_held_out_images_take_no_part_in_training(records):
    training, held_out = split(records, 0.34, 3)
    assert len(held_out) == 2
    ids = {record.image_id for record in training} | {record.image_id for record in held_out}
    assert len(training) + len(held_out) == len(ids) == len(records)
    assert [r.image_id for r in split(records, 0.34, 3)[1]] == [r.image_id for r in held_out]
    assert split(records, 0.0, 3)[1] == []


@pytest.mark.parametrize("random_scale", [True, False])
@pytest.mark.parametrize("images_per_batch", [0, 2])
def test_several_scales_are_trained(records, tmp_path, random_scale, images_per_batch):
    config = tiny.with_scales(
        tiny.config(
            random_scale=random_scale,
            images_per_batch=images_per_batch,
            open_layers=1,
            iterations=2,
            map_dtype="bfloat16",
        ),
        48,
        64,
        80,
    )
    images = tiny.training_images(config, records)
    tuned = fine_tune(images, config, tmp_path / "run")
    assert bool(tuned.scorer.weight.isfinite().all())


def test_mixed_precision_trains_the_float32_weights_of_the_backbone(records, tmp_path):
    config = tiny.config(open_layers=1, images_per_batch=2, iterations=2)
    config = replace(config, features=replace(config.features, dtype="bfloat16"))
    images = tiny.training_images(config, records)
    before = images.source.extractor.backbone.trunk[2].weight.clone()
    backbone = fine_tune(images, config, tmp_path / "run").backbone
    assert backbone.trunk[2].weight.dtype == torch.float32
    assert not backbone.trunk[2].weight.equal(before)


def test_a_joint_regressor_moves_boxes_onto_objects(records, tmp_path):
    config = tiny.config(
        iterations=40, images_per_batch=2, joint_bbox=True, flip=False, learning_rate=0.02
    )

    def shifted(record):
        boxes = record.truth.boxes + torch.tensor([4.0, 0.0, 4.0, 0.0])
        anywhere = tiny.proposals(record).boxes[:40]
        return Proposals(image_id=record.image_id, boxes=torch.cat((boxes, anywhere)))

    images = replace(tiny.training_images(config, records), proposals=shifted)
    tuned = fine_tune(images, config, tmp_path / "run")
    extractor = images.source.extractor
    maps = FrozenMaps(extractor, records, max_pixels=10_000, budget=0, dtype=torch.float32)
    for index, record in enumerate(records):
        boxes = shifted(record).boxes[: len(record.truth.boxes)]
        with torch.no_grad():
            pool5 = extractor.pool(maps.of(index, flipped=False), boxes).expand()
            deltas = tuned.regressors.deltas_of(tuned.fc(pool5, "fc7"), record.truth.labels)
        moved = decode_deltas(boxes, deltas)
        before = (boxes - record.truth.boxes).abs().sum()
        assert float((moved - record.truth.boxes).abs().sum()) < float(before)


def test_epochs_take_the_place_of_iterations():
    config = tiny.config(epochs=2.5, images_per_batch=4, iterations=7).finetune
    assert with_iterations(config, 10).iterations == 6
    assert with_iterations(replace(config, epochs=0.0), 10).iterations == 7
    assert with_iterations(replace(config, epochs=0.01), 10).iterations == 1


def test_adamw_with_one_cycle_learns_a_single_fc_layer_and_resumes_bit_exactly(records, tmp_path):
    config = tiny.config(
        optimizer="adamw",
        schedule="one_cycle",
        epochs=8.0,
        learning_rate=3e-3,
        clip_norm=10.0,
        images_per_batch=2,
        easy_negatives=0.5,
        open_layers=1,
        joint_bbox=True,
        scores="softmax",
        checkpoint_every=3,
    )
    config = replace(config, features=replace(config.features, layer="fc6"))
    images = tiny.training_images(config, records)
    whole = fine_tune(images, config, tmp_path / "whole")
    assert whole.fc.fc7 is None
    stopped = replace(config, finetune=replace(config.finetune, checkpoint_every=2))
    steps = []

    def interrupted(step, *arguments, **options):
        def until(index):
            if index == 5 and not steps:
                steps.append(index)
                raise KeyboardInterrupt
            return step(index)

        return run_steps(until, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detection.training.finetune.run_steps", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(images, stopped, tmp_path / "stopped")
        resumed = fine_tune(images, stopped, tmp_path / "stopped", resume=True)
    assert steps == [5]
    for name, tensor in whole.fc.state_dict().items():
        assert tensor.equal(resumed.fc.state_dict()[name])
    assert whole.scorer.weight.equal(resumed.scorer.weight)
    trained = list(whole.backbone.trunk.parameters())
    before = list(images.source.extractor.backbone.trunk.parameters())
    assert not all(a.equal(b) for a, b in zip(trained, before, strict=True))


def test_the_average_of_the_weights_is_what_is_kept(records, tmp_path):
    settings = {"open_layers": 1, "images_per_batch": 2, "iterations": 6, "ema_decay": 0.99}
    tuned, _, _ = tune(records, tmp_path / "run", **settings)
    state = load_latest(tmp_path / "run").state
    kept = {n.removeprefix("fc8."): t for n, t in state["average"]["averages"].items()}
    assert tuned.scorer.weight.equal(kept["weight"])
    assert not tuned.scorer.weight.equal(state["network"]["fc8.weight"])
    tune(records, tmp_path / "plain", **settings | {"ema_decay": 0.0})
    plain = load_latest(tmp_path / "plain").state["network"]
    assert all(t.equal(plain[name]) for name, t in state["network"].items())


@pytest.mark.parametrize("method", METHODS)
def test_two_threads_train_the_network_of_one(records, method):
    config = tiny.config(method, open_layers=2, joint_bbox=True, images_per_batch=2)
    images = tiny.training_images(config, records)
    before = torch.get_num_threads()
    weights = []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            network = FineTuneModel(images.source.extractor, 2, 0.5, config.finetune)
            its = batches(images, records, network.extractor, config)
            tuner = FineTuner(network, its, config.finetune, ALONE)
            for index in range(4):
                tuner.step(index)
            weights.append({name: t.clone() for name, t in network.state_dict().items()})
    finally:
        torch.set_num_threads(before)
    for name, one in weights[0].items():
        torch.testing.assert_close(weights[1][name], one, rtol=1e-4, atol=1e-6)
        assert torch.equal(weights[1][name], weights[2][name])
