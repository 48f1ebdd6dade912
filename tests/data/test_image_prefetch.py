"""Images read ahead, and images that somebody names."""

import dataclasses
from pathlib import Path

import pytest

from detection.data.folder import list_images, name_images
from detection.data.image_prefetch import read_ahead, read_ahead_or_none
from detection.data.images import EXTENSIONS
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


def test_files_are_taken_as_named_and_folders_by_extension(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("b.jpg", "a.PNG", "c.txt"):
        (tmp_path / "in" / name).write_bytes(b"")
    (tmp_path / "in" / "d.jpg").mkdir()
    odd = tmp_path / "odd.xyz"
    odd.write_bytes(b"")
    actual = list_images([odd, tmp_path / "in"])
    assert [path.name for path in actual] == ["odd.xyz", "a.PNG", "b.jpg"]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="gone: expected an image or a folder"):
        list_images([tmp_path / "gone"])
    with pytest.raises(DataError, match=r"expected images .*, got none"):
        list_images([tmp_path])
    with pytest.raises(DataError, match="nothing: expected images"):
        list_images([])
    assert ".jpg" in EXTENSIONS


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["a"], ["1", "img"]),
        (["b"], ["img.jpg", "img.png"]),
        (["a/1.jpg", "b/img.png"], ["1", "img"]),
        (["a", "b"], ["a/1.jpg", "a/img.jpg", "b/img.jpg", "b/img.png"]),
        (["a", "b/img.png"], ["1.jpg", "img.jpg", "img.png"]),
        (["a", "a/img.jpg", "a"], ["1", "img"]),
    ],
)
def test_each_image_has_an_identifier_of_its_own(tmp_path, monkeypatch, inputs, expected):
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.jpg", "a/img.jpg", "b/img.jpg", "b/img.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"image")
    arguments = [Path(name) for name in inputs]
    paths = list_images(arguments)
    assert sorted(name_images(arguments, paths).values()) == expected
    assert len(set(paths)) == len(paths)
