import json
from dataclasses import replace

import pytest
import torch
from torch import nn

import detection
from detection.backbones.backbone import PREPROCESSINGS
from detection.backbones.own import Trunk
from detection.config import BackboneConfig, CascadeConfig, DataConfig, ProposalConfig
from detection.data.dataset import read_dataset
from detection.errors import CheckpointError, ConfigError, DataError
from detection.features.factory import make_extractor
from detection.heads.layer import identity
from detection.model_io import save_detector
from detection.proposals.store import ProposalStore
from detection.runs.folder import read_run_config
from detection.structures import Dataset, Proposals
from detection.tiny import tiny_detector
from detection.training.pipeline import (
    TrainedNetwork,
    class_table,
    layer_of,
    stored_proposals,
    train,
    train_detector,
    training_images,
)
from tests.faults.small import write_tree
from tests.training import tiny


@pytest.fixture
def dataset(tmp_path):
    return Dataset(
        name="set",
        split="train",
        class_names=("red", "blue", "a\nb"),
        records=tuple(tiny.records(tmp_path, 4)),
        notes={"clipped box": 2},
        skipped=(),
    )


def test_the_table_counts_images_objects_and_difficult_ones(dataset):
    """Images 0 to 3 show red; blue and red; red; blue and red."""
    first = dataset.records[0]
    twice = replace(
        first.truth,
        boxes=first.truth.boxes.repeat(2, 1),
        labels=first.truth.labels.repeat(2),
        difficult=torch.tensor([True, False]),
    )
    records = (replace(first, truth=twice), *dataset.records[1:])
    lines = class_table(replace(dataset, records=records)).splitlines()
    assert lines[:2] == ["set: 4 images, 7 objects", "  clipped box: 2"]
    rows = [line.rsplit(maxsplit=3) for line in lines[3:]]
    assert [(row[0].strip(), *row[1:]) for row in rows[:2]] == [
        ("red", "4", "5", "1"),
        ("blue", "2", "2", "0"),
    ]
    assert len(rows) == 3  # the third class stays one line
    assert rows[2][1:] == ["0", "0", "0"]


def test_fc7_that_the_weights_do_not_bring_is_refused():
    config = tiny.config()
    extractor = make_extractor(tiny.backbone(), config.features)
    with pytest.raises(ConfigError, match=r"features.layer: expected pool5.*400 numbers, got fc7"):
        layer_of(extractor, config)
    pool5 = replace(config, features=replace(config.features, layer="pool5"))
    assert layer_of(extractor, pool5) is identity


def test_an_image_whose_search_failed_has_no_boxes(dataset, tmp_path):
    store = ProposalStore(tmp_path / "store", ProposalConfig(backend="native"))
    first, second, *_ = dataset.records
    boxes = torch.tensor([[1.0, 2, 30, 40]])
    store.save(first, Proposals(image_id=first.image_id, boxes=boxes))
    load = stored_proposals(store)
    assert load(first).boxes.tolist() == boxes.tolist()
    assert load(second).boxes.shape == (0, 4)
    assert load(second).image_id == second.image_id


@pytest.mark.parametrize("method", ["sppnet", "rcnn"])
def test_a_detector_without_fine_tuning_finds_what_it_was_trained_on(dataset, tmp_path, method):
    config = tiny.config(method, enabled=False)
    config = replace(config, features=replace(config.features, layer="pool5"))
    dataset = replace(dataset, class_names=tiny.CLASS_NAMES)
    store = ProposalStore(tmp_path / "store", config.proposals)
    for record in dataset.records:
        store.save(record, tiny.proposals(record))
    extractor = make_extractor(tiny.backbone(), config.features)
    images = training_images(dataset, store, extractor, config)
    detector = train_detector(TrainedNetwork(images=images, fc=identity, tuned=None), config)
    assert detector.class_names == ("red", "blue")
    for record in dataset.records:
        found = detector.detect(record.path, tiny.proposals(record))
        assert int(found.labels[0]) in record.truth.labels.tolist()


@pytest.fixture
def own(dataset, tmp_path):
    """What is needed to train in seconds: a data set, a trunk, and settings with stored boxes."""
    dataset = replace(dataset, class_names=tiny.CLASS_NAMES)
    config = tiny.config(enabled=False)
    config = replace(
        config,
        features=replace(config.features, layer="pool5"),
        proposals=replace(
            config.proposals, backend="native", folder=str(tmp_path / "boxes"), workers=1
        ),
    )
    store = ProposalStore(tmp_path / "boxes", config.proposals)
    for record in dataset.records:
        store.save(record, tiny.proposals(record))
    return dataset, tiny.blueprint().trunk, config


def test_a_data_set_and_a_trunk_of_ones_own_are_trained_and_loaded(own, tmp_path):
    dataset, trunk, config = own
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    run = detection.train(config, tmp_path / "run", dataset=dataset, backbone=trunk)
    said = json.loads((run / "given.json").read_text())
    assert said["dataset"] == {"name": "set", "split": "train"}
    assert (said["backbone"]["name"], said["backbone"]["stride"]) == ("own/Sequential", 8)
    assert read_run_config(run).backbone.name == "own/Sequential"
    with pytest.raises(CheckpointError, match=r"the backbone own/Seq.*got none; detection.load"):
        detection.load(run, device="cpu")
    with torch.no_grad():
        trunk[0].weight.zero_()  # the weights are those of the file
    detector = detection.load(run, device="cpu", backbone=trunk)
    stored = detector.extractor.backbone.trunk.state_dict()
    assert all(tensor.equal(before[name]) for name, tensor in stored.items())
    for record in dataset.records:
        found = detector.detect(record.path, tiny.proposals(record))
        assert int(found.labels[0]) in record.truth.labels.tolist()
    other = Trunk(module=trunk, preprocessing=PREPROCESSINGS["half"])
    with pytest.raises(CheckpointError, match=r"expected a backbone with mean \[0.485.*got \[0.5"):
        detection.load(run, device="cpu", backbone=other)
    with pytest.raises(CheckpointError, match=r"expected the weights of own/Sequential"):
        detection.load(run, device="cpu", backbone=nn.Sequential(trunk[0]))


def test_the_same_detector_comes_of_a_data_set_that_is_read_and_one_that_is_given(tmp_path):
    tree = write_tree(tmp_path / "voc", train=4, test=2)
    config = tiny.config(enabled=False)
    config = replace(
        config,
        data=DataConfig(root=str(tree.root)),
        backbone=BackboneConfig(name="squeezenet"),
        features=replace(config.features, layer="pool5", scales=(96,)),
        proposals=ProposalConfig(folder=str(tmp_path / "boxes"), workers=1, max_boxes=40),
    )
    dataset = read_dataset(config.data, "train")
    first = train(config, tmp_path / "read")
    second = train(config, tmp_path / "given", dataset=dataset)
    files = [(run / "model.safetensors").read_bytes() for run in (first, second)]
    assert files[0] == files[1]
    assert not (first / "given.json").exists()


@pytest.mark.parametrize("fc", ["auto", "int8"])
def test_aligned_boxes_are_trained_end_to_end_and_take_a_cascade(own, tmp_path, fc):
    dataset, trunk, config = own
    joint = {"scores": "softmax", "joint_bbox": True, "images_per_batch": 1, "open_layers": 2}
    tuned = tiny.config(iterations=30, learning_rate=0.02, dropout=0.0, **joint).finetune
    features = {"layer": "fc6", "pooling": "align", "levels": (1, 3), "maps": ("3", "1"), "fc": fc}
    config = replace(
        config,
        features=replace(config.features, **features),
        finetune=tuned,
        cascade=CascadeConfig(enabled=True, levels=(1,)),
        postprocess=replace(config.postprocess, score_threshold=0.0),
    )
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    run = train(config, tmp_path / "run", dataset=dataset, backbone=trunk)
    detector = detection.load(run, device="cpu", backbone=trunk)
    assert detector.extractor.feature_dim == (8 + 6) * (1 + 9)
    stored = detector.extractor.backbone.trunk.state_dict()
    assert not any(tensor.equal(before[name]) for name, tensor in stored.items())
    for record in dataset.records:
        found = detector.detect(record.path, tiny.proposals(record))
        assert int(found.labels[0]) in record.truth.labels.tolist()


def test_callbacks_hear_every_stage(own, tmp_path):
    dataset, trunk, config = own
    tune = replace(
        tiny.config(
            epochs=2,
            images_per_batch=1,
            validation_fraction=0.25,
            validate_map_every=1,
            open_layers=1,
        ).finetune
    )
    config = replace(config, finetune=tune, features=replace(config.features, layer="fc7"))
    heard = []
    train(config, tmp_path / "run", dataset=dataset, backbone=trunk, callbacks=[heard.append])
    stages = list(dict.fromkeys(event.stage for event in heard))
    assert stages[:5] == ["proposals", "fine-tuning", "mining", "box regression", "svms"]
    steps = [event for event in heard if event.stage == "fine-tuning"]
    assert [(event.step, event.total) for event in steps] == [(n, 6) for n in range(1, 7)]
    assert all({"loss_class", "learning_rate"} <= set(event.metrics) for event in steps)
    measured = [event.step for event in steps if "validation_map" in event.metrics]
    assert measured == [3, 6]
    mined = [event for event in heard if event.stage == "mining"]
    assert [(event.step, event.total) for event in mined] == [(n, 4) for n in range(1, 5)]
    assert mined[-1].metrics["retrainings"] >= 1
    assert mined[-1].metrics["negatives"] > 0
    (moved,) = [event for event in heard if event.stage == "box regression"]
    assert moved.metrics["examples"] > 0


def test_trackers_follow_a_run_to_its_evaluation(own, tmp_path):
    pytest.importorskip("accelerate")
    from tests.training.recorder import Recorder

    dataset, trunk, config = own
    recorder = Recorder()
    run = train(config, tmp_path / "run", dataset=dataset, backbone=trunk, trackers=[recorder])
    assert recorder.calls == ["start", "finish"]
    assert recorder.settings["features.method"] == config.features.method
    assert recorder.settings["run"] == "run"
    values = {name: value for _, row in recorder.rows for name, value in row.items()}
    assert values["mining/retrainings"] >= 1
    assert values["mining/negatives"] > 0
    steps = [step for step, _ in recorder.rows]
    assert steps == sorted(steps)
    again = Recorder()
    assert train(config, run, dataset=dataset, backbone=trunk, trackers=[again], resume=True) == run
    assert again.calls == []


def test_a_training_that_a_callback_ends_resumes_to_the_same_bytes(own, tmp_path):
    dataset, trunk, config = own
    parts = {"dataset": dataset, "backbone": trunk}
    straight = train(config, tmp_path / "straight", **parts)

    def stop(event):
        if (event.stage, event.step) == ("mining", 2):
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(config, run, **parts, callbacks=[stop])
    with pytest.raises(DataError, match=r"expected the dataset that this run was given in Python"):
        train(config, run, backbone=trunk, resume=True)
    with pytest.raises(ConfigError, match=r"own/Sequential' -> 'zf5'"):
        train(config, run, dataset=dataset, resume=True)
    with pytest.raises(DataError, match=r"expected the backbone that this run was given"):
        train(read_run_config(run), run, dataset=dataset, resume=True)
    other = tiny.blueprint().trunk
    other[0].weight.data.mul_(2)
    with pytest.raises(DataError, match=r"expected the backbone that this run began with.*sha256"):
        train(config, run, dataset=dataset, backbone=other, resume=True)
    train(config, run, **parts, resume=True)
    files = [(folder / "model.safetensors").read_bytes() for folder in (straight, run)]
    assert files[0] == files[1]


def test_a_first_try_that_fails_leaves_a_folder_that_counts_as_empty(own, tmp_path):
    dataset, trunk, config = own
    more = replace(dataset, class_names=("red", "blue", "green"))
    with pytest.raises(DataError, match="expected objects of every class"):
        train(config, tmp_path / "run", dataset=more, backbone=trunk)
    assert (tmp_path / "run" / "given.json").is_file()
    run = train(config, tmp_path / "run", dataset=dataset, backbone=trunk)
    assert (run / "model.safetensors").is_file()


def test_a_model_whose_backbone_can_be_built_takes_none(tmp_path):
    save_detector(tmp_path / "model.safetensors", tiny_detector())
    with pytest.raises(CheckpointError, match="expected no backbone, as squeezenet can be built"):
        detection.load(tmp_path, device="cpu", backbone=tiny.blueprint().trunk)
