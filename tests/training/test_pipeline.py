from dataclasses import replace

import pytest
import torch

from detection.config import ProposalConfig
from detection.errors import ConfigError
from detection.features.factory import make_extractor
from detection.heads.layer import identity
from detection.proposals.store import ProposalStore
from detection.structures import Dataset, Proposals
from detection.training.pipeline import (
    TrainedNetwork,
    class_table,
    layer_of,
    stored_proposals,
    train_detector,
    training_images,
)
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
