"""The trainings: each has a place, and makes what its name says."""

from dataclasses import replace

import pytest

from detection.reproduce.settings import Choices, training_config
from detection.reproduce.table import SVM_TASKS
from detection.reproduce.tables import TABLES
from detection.reproduce.trainings import TRAININGS

PAPERS = {name: one for name, one in TRAININGS.items() if not name.startswith("tiny-")}


def test_every_training_is_tested_by_a_row():
    tested = {name for table in TABLES.values() for row in table.rows for name in row.trainings}
    started_from = {training.network for training in PAPERS.values()} - {""}
    assert set(PAPERS) - tested - started_from == set()
    assert tested - set(PAPERS) == set()


@pytest.mark.parametrize("training", PAPERS.values(), ids=PAPERS)
def test_a_training_is_what_its_name_says(training, tmp_path):
    config = training_config(training, Choices(out=tmp_path))
    words = training.name.split("-")
    if training.task == "classification":
        network, head = words
        assert config.backbone.name == network
        assert config.pretrain.head == ("no_spp" if head == "no_spp" else "spp")
        assert len(config.pretrain.sizes) == (2 if head == "multi" else 1)
        return
    if training.task in SVM_TASKS:
        assert config.backbone.name == words[1]
        assert ("no" in words) == (config.classify.svm_pool == "last_pool")
        return
    if words[0] != "ladder":
        assert config.features.method == words[0]
        assert config.backbone.name == words[1]
    if "ft" in words:
        assert config.finetune.enabled == (not training.network)
        assert config.features.layer == words[-1]
    if "5scale" in words:
        assert len(config.features.scales) == 5


def test_each_step_of_the_ladder_changes_one_thing(tmp_path):
    steps = [
        training_config(TRAININGS[f"ladder-{name}"], Choices(out=tmp_path))
        for name in ("sppnet", "joint", "open", "fast-rcnn")
    ]
    facts = [
        (one.finetune.joint_bbox, one.finetune.open_layers, one.features.levels) for one in steps
    ]
    pyramid = (1, 2, 3, 6)
    assert facts == [(False, 0, pyramid), (True, 0, pyramid), (True, 9, pyramid), (True, 9, (7,))]
    assert {one.features.scales for one in steps} == {(600,)}
    assert {one.finetune.seed for one in steps} == {0}
    assert len({one.proposals for one in steps}) == 1


def test_each_step_of_the_small_ladder_changes_one_thing(tmp_path):
    names = ("rcnn", "sppnet", "joint", "open", "fast-rcnn", "roi-align")
    rcnn, *steps = (
        training_config(TRAININGS[f"ladder-lite0-{name}"], Choices(out=tmp_path)) for name in names
    )
    facts = [
        (
            one.finetune.scores,
            one.finetune.joint_bbox,
            one.finetune.open_layers,
            one.features.levels,
            one.features.pooling,
        )
        for one in steps
    ]
    assert facts == [
        ("svm", False, 0, (1, 2, 3), "max"),
        ("softmax", True, 0, (1, 2, 3), "max"),
        ("softmax", True, 5, (1, 2, 3), "max"),
        ("softmax", True, 5, (7,), "max"),
        ("softmax", True, 5, (7,), "align"),
    ]
    assert {one.features.method for one in steps} == {"sppnet"}
    assert rcnn.features.method == "rcnn"
    for one in (rcnn, *steps):
        assert one.proposals == steps[0].proposals
        assert one.features.maps == steps[0].features.maps
        assert (one.finetune.seed, one.finetune.fc_size) == (0, 1024)
        assert one.postprocess.nms_iou == steps[0].postprocess.nms_iou
    assert [one.finetune.epochs for one in (rcnn, *steps)] == [2, 5, 5, 5, 5, 5]


@pytest.mark.parametrize(("one", "other"), [("open", "fast-rcnn"), ("fast-rcnn", "roi-align")])
def test_the_last_steps_differ_in_how_boxes_are_pooled_alone(one, other, tmp_path):
    first, second = (
        training_config(TRAININGS[f"ladder-lite0-{name}"], Choices(out=tmp_path))
        for name in (one, other)
    )
    pooled = {name: getattr(second.features, name) for name in ("levels", "pooling", "projection")}
    assert replace(first, features=replace(first.features, **pooled)) == second
