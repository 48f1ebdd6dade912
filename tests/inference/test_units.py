"""The regions that fire units most, against a search one unit at a time."""

from pathlib import Path

import pytest
import torch
from torchvision import ops

from detection.config import DataConfig
from detection.data.dataset import read_dataset
from detection.data.images import read_image
from detection.data.scenes import SCENE_CLASSES
from detection.data.synthetic import synthesize
from detection.errors import ConfigError, DataError
from detection.features.units import Bin, unit_layout
from detection.inference.units import (
    Region,
    UnitRegions,
    explore_units,
    most_selective,
)
from detection.proposals.dataset import propose_dataset
from detection.proposals.store import ProposalStore
from detection.structures import GroundTruth, Record
from detection.tiny import tiny_detector

WHERE = Bin(level=2, row=0, column=1)


@pytest.fixture(scope="module", params=["sppnet", "rcnn"])
def found(request, tmp_path_factory):
    """A detector, a data set and its proposals."""
    folder = tmp_path_factory.mktemp("units")
    synthesize(folder / "data", train_images=2, test_images=4)
    detector = tiny_detector(sorted(SCENE_CLASSES), method=request.param)
    data = DataConfig(root=str(folder / "data"))
    dataset = read_dataset(data, "test", class_names=detector.class_names)
    proposals = detector.config.proposals
    store = propose_dataset(dataset, proposals, folder / "boxes", max_pixels=10**7, max_failed=0.0)
    return detector, dataset, store


def one_unit(detector, dataset, store, place, top):
    """Value, image and box of a unit's strongest regions: torchvision's NMS, image by image."""
    rows = []
    for record in dataset.records:
        boxes = store.load(record).boxes
        image = read_image(record.path, record.image_id, max_pixels=10**7)
        values = detector.extractor.extract(image, boxes).expand()[:, place]
        kept = ops.nms(boxes, values, 0.3)
        rows += [
            (float(values[k]), record.image_id, boxes[k].tolist()) for k in kept if values[k] > 0
        ]
    return sorted(rows, key=lambda row: -row[0])[:top]


def test_the_strongest_regions_are_those_of_a_search_by_itself(found):
    detector, dataset, store = found
    layout = unit_layout(detector.extractor)
    where = WHERE if 2 in layout.levels else layout.coarsest
    channels = (0, 7, 300)
    units = explore_units(detector, dataset, store, where=where, channels=channels, top=5)
    assert [unit.channel for unit in units] == list(channels)
    some = 0
    for unit in units:
        place = int(layout.units(where)[unit.channel])
        expected = one_unit(detector, dataset, store, place, 5)
        assert [one.record.image_id for one in unit.regions] == [row[1] for row in expected]
        assert [list(one.box) for one in unit.regions] == [row[2] for row in expected]
        for one, row in zip(unit.regions, expected, strict=True):
            assert one.value == pytest.approx(row[0] / expected[0][0], rel=1e-4)
        some += len(expected)
    assert some > 5


def test_without_channels_the_units_are_chosen(found):
    detector, dataset, store = found
    units = explore_units(detector, dataset, store, num_units=3, top=4)
    assert 0 < len(units) <= 3
    assert all(unit.where == unit_layout(detector.extractor).coarsest for unit in units)
    assert all(unit.main_class[1] > 0 for unit in units)
    assert all(len(unit.regions) <= 4 for unit in units)


def test_a_channel_that_is_not_there_is_refused(found):
    detector, dataset, store = found
    with pytest.raises(ConfigError, match="--channels: expected numbers from 0 to 511, got 512"):
        explore_units(detector, dataset, store, channels=(512,))


def test_images_without_proposals_are_refused(found, monkeypatch):
    detector, dataset, store = found
    monkeypatch.setattr(ProposalStore, "load", lambda *_: None)
    with pytest.raises(DataError, match="expected images with proposals, got none"):
        explore_units(detector, dataset, store, channels=(1,))


TRUTH = GroundTruth(
    image_id="x",
    size=(9, 9),
    boxes=torch.zeros(0, 4),
    labels=torch.zeros(0, dtype=torch.int64),
    difficult=torch.zeros(0, dtype=torch.bool),
)
RECORD = Record(image_id="x", path=Path("x.png"), truth=TRUTH)


def unit_of(channel, *names, value=1.0):
    regions = tuple(
        Region(record=RECORD, box=(0.0, 0.0, 1.0, 1.0), value=value, class_name=name)
        for name in names
    )
    return UnitRegions(channel=channel, where=WHERE, regions=regions)


def test_selective_units_show_one_class_and_few_of_them_the_same():
    units = [
        unit_of(0, "cat", "dog", "", ""),
        unit_of(1, "cat", "cat", "cat", ""),
        unit_of(2, "cat", "cat", "cat", "cat", value=0.5),
        unit_of(3, "cat", "cat", "cat", "cat", value=0.9),
        unit_of(4, "", "", "", ""),
        unit_of(5, "dog", "dog", "", ""),
        unit_of(6),
    ]
    assert [unit.channel for unit in most_selective(units, 9)] == [3, 2, 5]
    assert [unit.channel for unit in most_selective(units, 1)] == [3]
