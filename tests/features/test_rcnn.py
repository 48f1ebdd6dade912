from dataclasses import replace

import pytest
import torch
from torch.nn.functional import adaptive_max_pool2d

from detection.backbones.backbone import PREPROCESSINGS, Backbone
from detection.backbones.weights import load_backbone
from detection.boxes import flip
from detection.config import BackboneConfig, FeatureConfig
from detection.errors import ConfigError
from detection.features.rcnn import RcnnExtractor
from detection.structures import ConvGeometry, Image
from tests.classification.tiny_classifier import tiny_blueprint
from tests.features.contract import BOXES, picture

SMALL = FeatureConfig(scales=(64,), device="cpu", batch_size=4, layer="pool5")


@pytest.fixture(scope="module")
def backbone():
    """One small network for what does not depend on the network."""
    return load_backbone(BackboneConfig(name="squeezenet"))


def test_rcnn_does_not_depend_on_the_batch_size(backbone):
    image = picture(60, 90)
    one = RcnnExtractor(backbone, replace(SMALL, batch_size=1)).extract(image, BOXES)
    many = RcnnExtractor(backbone, replace(SMALL, batch_size=64)).extract(image, BOXES)
    assert torch.allclose(one.expand(), many.expand(), rtol=1e-4, atol=1e-4)


def test_rcnn_sees_the_mirrored_crop_in_the_mirrored_image(backbone):
    """The release puts the centre half a pixel to the right: nearly, not exactly."""
    extractor = RcnnExtractor(backbone, SMALL)
    image = picture(200, 300)
    mirrored = Image(image_id="m", pixels=image.pixels.flip(1))
    box = torch.tensor([[50.0, 40, 200, 160]])
    crop = extractor.warp(extractor.encode_image(image), box)
    other = extractor.warp(extractor.encode_image(mirrored), flip(box, 300))
    assert (crop - other.flip(3)).abs().mean() < 0.2 * crop.std()


def tiny_backbone():
    geometry, caffe = ConvGeometry(stride=8, offset=1.5), PREPROCESSINGS["caffe"]
    backbone = Backbone("tiny", tiny_blueprint(), geometry, caffe)
    backbone.trunk.to_empty(device="cpu")
    return backbone


def test_a_context_that_leaves_no_room_in_the_crop_is_refused():
    backbone = tiny_backbone()
    assert RcnnExtractor(backbone, FeatureConfig(method="rcnn", context=31, device="cpu"))
    with pytest.raises(
        ConfigError, match=r"features\.context: expected at most 31 pixels on .* 32"
    ):
        RcnnExtractor(backbone, FeatureConfig(method="rcnn", context=32, device="cpu"))


def test_crops_have_the_side_that_is_configured(backbone):
    extractor = RcnnExtractor(backbone, replace(SMALL, crop_size=224))
    crops = extractor.warp(extractor.encode_image(picture(60, 90)), BOXES)
    assert crops.shape == (len(BOXES), 3, 224, 224)
    own = RcnnExtractor(backbone, replace(SMALL, crop_size=227))
    standard = RcnnExtractor(backbone, SMALL)
    image = picture(60, 90)
    assert torch.equal(own.extract(image, BOXES).values, standard.extract(image, BOXES).values)


@pytest.mark.parametrize("side", [33, 48, 96])
def test_a_side_that_gives_another_pool5_is_refused(side):
    """Cells of 16 pixels, a pool of two: 64 to 79 pixels give the grid of 2 x 2."""
    backbone, config = tiny_backbone(), replace(SMALL, context=4)
    assert RcnnExtractor(backbone, replace(config, crop_size=79)).crop_size == 79
    with pytest.raises(ConfigError, match=r"features\.crop_size: expected 0 or a side that"):
        RcnnExtractor(backbone, replace(config, crop_size=side))


def test_a_pyramid_takes_crops_of_any_side():
    backbone = load_backbone(BackboneConfig(name="resnet18_c4"))
    config = replace(SMALL, maps=("layer3",), levels=(1, 3), crop_size=160)
    extractor = RcnnExtractor(backbone, config)
    assert extractor.extract(picture(60, 90), BOXES).values.shape[1] == extractor.feature_dim


def test_crops_are_pooled_with_the_pyramid_where_maps_are_named():
    backbone = load_backbone(BackboneConfig(name="resnet18_c4"))
    config = replace(SMALL, maps=("layer2", "layer3"), map_scales=(0.5, 1.0), levels=(1, 3))
    extractor = RcnnExtractor(backbone, config)
    image = picture(60, 90)
    crops = extractor.warp(extractor.encode_image(image), BOXES)
    middle = backbone.trunk[:6](crops)
    expected = [
        adaptive_max_pool2d(values, level).flatten(1) * factor
        for values, factor in ((middle, 0.5), (backbone.trunk(crops), 1.0))
        for level in (1, 3)
    ]
    actual = extractor.extract(image, BOXES).expand()
    assert actual.shape[1] == extractor.feature_dim == (128 + 256) * 10
    torch.testing.assert_close(actual, torch.cat(expected, dim=1), rtol=1e-4, atol=1e-4)
