"""Vectors of whole images: views, pools and length."""

from dataclasses import replace

import pytest
import torch

from detection.backbones.weights import load_backbone
from detection.classification.dataset import read_image_folder
from detection.classification.whole_image import (
    example_features,
    image_features,
    make_whole_image_extractor,
    pool_image,
)
from detection.config import Config
from detection.data.dataset import read_dataset
from detection.errors import ConfigError
from detection.pretrain_config import ClassifyConfig
from detection.structures import Image
from tests.classification.tiny_classifier import picture, voc_config, write_voc

pytestmark = pytest.mark.usefixtures("tiny_network")


def test_features_have_length_one(tmp_path):
    config = voc_config(write_voc(tmp_path / "voc", images=2))
    extractor = extractor_of(config)
    rows = image_features(read_dataset(config.data, "test"), extractor, config)
    assert rows.shape == (3, 12 * 5)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def extractor_of(config: Config):
    return make_whole_image_extractor(load_backbone(config.backbone), config)


def image_of(height, width) -> Image:
    return Image(image_id="x", pixels=picture(height, width).permute(1, 2, 0).contiguous())


def test_the_full_view_pools_the_map_of_the_whole_image(tmp_path):
    config = voc_config(tmp_path)
    extractor = extractor_of(config)
    image = image_of(64, 96)
    conv5 = extractor.network.conv(
        extractor.network.normalise(image.pixels.permute(2, 0, 1)[None].float())
    )[0]
    expected = torch.cat(
        [torch.nn.functional.adaptive_max_pool2d(conv5, n).flatten(1) for n in (1, 2)], dim=1
    )
    torch.testing.assert_close(pool_image(image, extractor, config), expected)


def test_the_crop_view_is_the_full_view_of_the_central_square(tmp_path):
    full = voc_config(tmp_path)
    crop = replace(full, classify=ClassifyConfig(svm_view="crop"))
    extractor = extractor_of(full)
    image = image_of(64, 96)
    square = Image(image_id="x", pixels=image.pixels[:, 16:80].contiguous())
    expected = pool_image(square, extractor, full)
    assert torch.equal(pool_image(image, extractor, crop), expected)


def test_without_a_pyramid_only_a_crop_of_the_right_size_has_features(tmp_path):
    config = voc_config(tmp_path)
    config = replace(config, classify=ClassifyConfig(svm_pool="last_pool"))
    crop = replace(config, classify=ClassifyConfig(svm_view="crop", svm_pool="last_pool"))
    assert pool_image(image_of(64, 96), extractor_of(crop), crop).shape == (1, 12 * 4)
    large = replace(crop, features=replace(crop.features, scales=(96,)))
    with pytest.raises(ConfigError, match="64 pixels for tiny, got 96"):
        pool_image(image_of(96, 96), extractor_of(large), large)
    data = read_dataset(voc_config(write_voc(tmp_path / "voc", images=2)).data, "test")
    with pytest.raises(
        ConfigError, match=r"svm_view: expected crop or warp with classify\.svm_pool last_pool"
    ):
        image_features(data, extractor_of(config), config)


def test_several_scales_are_refused(tmp_path):
    config = voc_config(write_voc(tmp_path / "voc", images=2))
    config = replace(config, features=replace(config.features, scales=(64, 96)))
    data = read_dataset(config.data, "test")
    with pytest.raises(ConfigError, match="one short side to classify with"):
        image_features(data, extractor_of(config), config)


def test_the_warped_view_is_the_full_view_of_the_stretched_image(tmp_path):
    full = voc_config(tmp_path)
    warp = replace(full, classify=ClassifyConfig(svm_view="warp"))
    extractor = extractor_of(full)
    image = image_of(64, 96)
    stretched = torch.nn.functional.interpolate(
        image.pixels.permute(2, 0, 1)[None].float(), (64, 64), mode="bilinear", antialias=True
    )[0]
    square = Image(
        image_id="x", pixels=stretched.round().to(torch.uint8).permute(1, 2, 0).contiguous()
    )
    actual = pool_image(image, extractor, warp)
    assert actual.shape == (1, 12 * 5)
    torch.testing.assert_close(actual, pool_image(square, extractor, full), rtol=0.02, atol=0.5)
    assert not torch.equal(actual, pool_image(image, extractor, full))


def test_a_warped_image_needs_no_pyramid(tmp_path):
    config = replace(
        voc_config(tmp_path), classify=ClassifyConfig(svm_view="warp", svm_pool="last_pool")
    )
    assert pool_image(image_of(50, 96), extractor_of(config), config).shape == (1, 12 * 4)


def test_labelled_images_have_the_vectors_of_their_files(root, tmp_path):
    config = voc_config(tmp_path)
    extractor = extractor_of(config)
    images = read_image_folder(root / "val")
    rows = example_features(images, extractor, config)
    assert rows.shape == (len(images.examples), 12 * 5)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
