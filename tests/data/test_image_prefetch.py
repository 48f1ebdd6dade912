"""Images read ahead, and images that somebody names."""

import dataclasses

import pytest

from detection.data.image_prefetch import read_ahead, read_ahead_or_none
from detection.data.voc import read_voc
from detection.errors import DataError
from tests.data.folders import VocTree


@pytest.fixture
def records(tmp_path):
    tree = VocTree(tmp_path / "set")
    image_ids = [f"00000{number}" for number in range(1, 7)]
    for image_id in image_ids[1:]:
        tree.more(image_id)
    tree.split("train", "\n".join(image_ids))
    return read_voc(tree.root, "train").records


@pytest.mark.parametrize("depth", [1, 2, 10])
def test_images_come_in_the_order_of_the_records(records, depth):
    images = list(read_ahead(records, max_pixels=10_000, depth=depth))
    assert [image.image_id for image in images] == [record.image_id for record in records]


def test_a_damaged_image_stops_at_its_place(records):
    records[2].path.write_bytes(b"damaged")
    images = read_ahead(records, max_pixels=10_000)
    assert [next(images).image_id for _ in range(2)] == ["000001", "000002"]
    with pytest.raises(DataError, match=r"000003\.jpg"):
        next(images)


def test_a_damaged_image_may_be_none(records, caplog):
    records[2].path.write_bytes(b"damaged")
    images = list(read_ahead_or_none(records, max_pixels=10_000))
    assert [image is None for image in images] == [False, False, True, False, False, False]
    assert "000003.jpg" in caplog.text


def test_the_limit_reaches_the_reader(records):
    with pytest.raises(DataError, match="expected at most 100 pixels"):
        next(read_ahead(records, max_pixels=100))


def test_the_identifier_is_the_records(records):
    renamed = [dataclasses.replace(records[0], image_id="other")]
    assert [image.image_id for image in read_ahead(renamed, max_pixels=10_000)] == ["other"]
