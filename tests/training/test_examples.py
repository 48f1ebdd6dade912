from dataclasses import replace

import pytest
import torch

from detection.structures import Proposals
from tests.training import tiny


@pytest.fixture
def images(tmp_path):
    return tiny.training_images(tiny.config(), tiny.records(tmp_path, 4))


def test_the_rois_of_an_example_are_the_proposals_then_the_objects(images):
    examples = list(images.examples())
    assert [example.record for example in examples] == images.records
    for example in examples:
        proposals, objects = tiny.proposals(example.record).boxes, example.record.truth.boxes
        assert torch.equal(example.rois.boxes, torch.cat((proposals, objects)))
        assert example.rois.is_object.tolist() == [False] * len(proposals) + [True] * len(objects)
        alone = images.source.extractor.extract(
            next(images_of(example.record)), example.rois.boxes
        ).expand()
        torch.testing.assert_close(example.pool5.expand(), alone)


def images_of(record):
    from detection.data.images import read_image

    yield read_image(record.path, max_pixels=10_000)


def test_positives_are_the_objects_and_below_1_what_overlaps_them(images):
    labels = [its.tolist() for _, _, its in images.positives()]
    assert labels == [record.truth.labels.tolist() for record in images.records]
    for (_, pool5, its), record in zip(images.positives(0.5), images.records, strict=True):
        overlapping = int((images.rois(record).best_iou >= 0.5).sum())
        assert len(its) == len(pool5.rows) == overlapping
        assert overlapping > len(record.truth.labels)


def test_an_image_without_boxes_and_objects_gives_no_positives_and_no_random_boxes(images):
    empty = images.records[0].truth
    empty = replace(
        empty, boxes=empty.boxes[:0], labels=empty.labels[:0], difficult=empty.difficult[:0]
    )
    records = [replace(images.records[0], truth=empty), *images.records[1:]]

    def proposals(record):
        if record is records[0]:
            return Proposals(image_id=record.image_id, boxes=torch.zeros(0, 4))
        return tiny.proposals(record)

    fewer = replace(images, records=records, proposals=proposals)
    assert len(list(fewer.positives())) == 3
    assert [e.record for e in fewer.random_boxes(5, seed=0)] == records[1:]
    assert [len(pool5.rows) for pool5 in fewer.sample(4, 5, seed=0)] == [0, 5, 5, 5]


def test_random_boxes_are_some_of_the_proposals_and_those_of_the_seed(images):
    def drawn(seed):
        return [example.rois.boxes for example in images.random_boxes(7, seed)]

    for boxes, record in zip(drawn(1), images.records, strict=True):
        proposals = tiny.proposals(record).boxes.tolist()
        objects = record.truth.boxes.tolist()
        assert boxes[: len(boxes) - len(objects)].tolist() != proposals[:7]
        assert all(box in proposals + objects for box in boxes.tolist())
        assert len(boxes) == 7 + len(objects)
    assert all(map(torch.equal, drawn(1), drawn(1)))
    assert not all(map(torch.equal, drawn(1), drawn(2)))


def test_a_sample_is_of_so_many_images_and_boxes(images):
    assert [len(pool5.rows) for pool5 in images.sample(3, 10, seed=0)] == [10, 10, 10]
    assert len(list(images.sample(99, 10, seed=0))) == len(images.records)
