import logging
from dataclasses import replace

import pytest
import torch

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.errors import DataError
from detection.features import cache as module
from detection.features.cache import MapCache, hash_of_weights
from detection.features.factory import make_extractor
from detection.structures import Image
from tests.features.contract import BOXES, picture

SMALL = FeatureConfig(scales=(64, 96), device="cpu")
METHODS = ["sppnet", "rcnn"]


def extractor(method="sppnet", seed=0, **settings):
    network = load_backbone(BackboneConfig(name="squeezenet", seed=seed))
    return make_extractor(network, replace(SMALL, method=method, **settings))


def files(folder):
    return sorted(folder.rglob("*.safetensors"))


def computed_again(image):
    pytest.fail(f"{image.image_id}: computed again")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_stored_maps_equal_computed_ones(tmp_path, method, dtype, monkeypatch):
    network = extractor(method, dtype=dtype)
    image = picture(60, 90)
    expected = network.extract(image, BOXES).values
    computed = MapCache(network, tmp_path).encode_image(image)
    monkeypatch.setattr(network, "prepare", computed_again)
    stored = MapCache(network, tmp_path).encode_image(image)
    for a, b in zip(computed, stored, strict=True):
        assert torch.equal(a.values, b.values)
        assert (a.image_size, a.input_size, a.geometry) == (b.image_size, b.input_size, b.geometry)
    assert torch.equal(network.pool(stored, BOXES).values, expected)


def test_bfloat16_files_are_half_as_large(tmp_path):
    network, image = extractor(), picture(60, 90)
    MapCache(network, tmp_path / "full").encode_image(image)
    half = MapCache(network, tmp_path / "half", torch.bfloat16)
    computed, stored = half.encode_image(image), half.encode_image(image)
    assert torch.equal(computed[0].values, stored[0].values)
    sizes = [files(tmp_path / name)[0].stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]


def test_nothing_that_changes_the_maps_finds_an_old_file(tmp_path):
    image = picture(60, 90)
    other = Image(image_id=image.image_id, pixels=image.pixels.clone())
    other.pixels[0, 0, 0] ^= 1
    turned = Image(image_id=image.image_id, pixels=image.pixels.reshape(90, 60, 3))
    paths = {
        MapCache(extractor(), tmp_path).path(image),
        MapCache(extractor(), tmp_path).path(other),
        MapCache(extractor(), tmp_path).path(turned),
        MapCache(extractor(), tmp_path, torch.bfloat16).path(image),
        MapCache(extractor(seed=1), tmp_path).path(image),
        MapCache(extractor(scales=(64,)), tmp_path).path(image),
        MapCache(extractor(max_long_side=80), tmp_path).path(image),
        MapCache(extractor("rcnn"), tmp_path).path(image),
        MapCache(extractor(dtype="bfloat16"), tmp_path).path(image),
    }
    assert len(paths) == 9


def test_boxes_and_pooling_do_not_change_the_file(tmp_path):
    image = picture(60, 90)
    assert MapCache(extractor(), tmp_path).path(image) == MapCache(
        extractor(levels=(1, 2), projection="released_code"), tmp_path
    ).path(image)


@pytest.mark.parametrize("damage", [b"", b"half", b"\x00" * 100])
def test_a_damaged_file_is_computed_again_and_counted(tmp_path, damage, caplog):
    network, image = extractor(), picture(60, 90)
    cache = MapCache(network, tmp_path)
    expected = cache.encode_image(image)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == b"half" else damage)
    with caplog.at_level(logging.WARNING):
        again = cache.encode_image(image)
    assert cache.rebuilt == 1
    assert path.name in caplog.text
    assert torch.equal(again[0].values, expected[0].values)
    assert path.stat().st_size == len(whole)
    cache.encode_image(image)
    assert cache.rebuilt == 1


def test_a_flipped_bit_is_noticed(tmp_path):
    cache, image = MapCache(extractor(), tmp_path), picture(60, 90)
    expected = cache.encode_image(image)
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert torch.equal(cache.encode_image(image)[1].values, expected[1].values)
    assert cache.rebuilt == 1


def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path, monkeypatch, caplog):
    calls = []

    def full(path, *_):
        calls.append(path)
        message = f"{path}: no space: need 5 bytes, have 4"
        raise DataError(message)

    monkeypatch.setattr(module, "save_tensors", full)
    cache = MapCache(extractor(), tmp_path)
    with caplog.at_level(logging.WARNING):
        for seed in range(3):
            assert len(cache.encode_image(picture(60, 90, seed))) == 2
    assert len(calls) == 1
    assert caplog.text.count("no space") == 1


def test_the_hash_sees_every_weight():
    network = extractor().backbone.trunk
    before = hash_of_weights(network)
    with torch.no_grad():
        next(iter(network.parameters()))[0, 0, 0, 0] += 1
    assert hash_of_weights(network) != before
