from dataclasses import replace

import pytest
import torch
from torch.nn.functional import adaptive_max_pool2d

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.features.sppnet import SppExtractor, distinct_windows
from tests.features.contract import BOXES, picture

SMALL = FeatureConfig(scales=(64,), device="cpu", batch_size=4, layer="pool5")


@pytest.fixture(scope="module")
def backbone():
    """One small network for what does not depend on the network."""
    return load_backbone(BackboneConfig(name="squeezenet"))


def test_the_whole_image_at_its_own_scale_is_the_pyramid_of_the_whole_map(backbone):
    extractor = SppExtractor(backbone, SMALL)
    image = picture(64, 80)
    conv5 = extractor.encode_image(image)[0].values
    pooled = extractor.extract(image, torch.tensor([[0.0, 0, 80, 64]])).expand()
    expected = torch.cat([adaptive_max_pool2d(conv5[None], n).flatten(1) for n in (1, 2, 3, 6)], 1)
    assert torch.equal(pooled, expected)


def test_normalising_before_resizing_is_normalising_after_it(backbone):
    extractor = SppExtractor(backbone, replace(SMALL, scales=(64, 150)))
    image = picture(60, 90)
    pixels = image.pixels.permute(2, 0, 1)[None].float()
    for resized, size in zip(extractor.resize(image), [(64, 96), (150, 225)], strict=True):
        expected = torch.nn.functional.interpolate(pixels, size, mode="bilinear")
        expected = backbone.preprocessing.apply(expected)[0]
        assert torch.allclose(resized, expected, atol=1e-4)


def test_boxes_on_the_same_cells_share_a_row(backbone):
    extractor = SppExtractor(backbone, SMALL)
    boxes = torch.tensor([[0.0, 0, 90, 60], [0.1, 0.1, 89.9, 59.9], [0, 0, 45, 60]])
    features = extractor.extract(picture(60, 90), boxes)
    assert features.rows[0] == features.rows[1]
    assert len(features.values) == 2


def test_the_same_window_of_two_scales_is_two_rows():
    windows = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 2], [1, 0, 2, 2], [0, 0, 2, 2]])
    distinct, rows = distinct_windows(torch.tensor([1, 0, 0, 1]), windows, 2)
    assert distinct.tolist() == [[0, 0, 0, 2, 2], [0, 1, 0, 2, 2], [1, 0, 0, 2, 2]]
    assert rows.tolist() == [2, 0, 1, 2]


def test_windows_of_a_very_long_map_stay_apart():
    windows = torch.tensor([[0, 0, 9000, 1], [0, 1, 0, 9000], [8999, 0, 9000, 1]])
    distinct, rows = distinct_windows(torch.tensor([4, 0, 4]), windows, 9000)
    assert torch.equal(distinct[rows][:, 1:], windows)
    assert distinct[rows][:, 0].tolist() == [4, 0, 4]


def test_each_box_is_pooled_at_its_scale(backbone):
    """A small box on the large input, a large one on the small; or on the scale asked for."""
    extractor = SppExtractor(backbone, replace(SMALL, scales=(64, 256)))
    image = picture(60, 90)
    boxes = torch.tensor([[0.0, 0, 20, 20], [0, 0, 90, 60]])
    maps = extractor.encode_image(image)
    windows, rows = extractor.project(maps, boxes)
    # 85 x 85 at 256 is nearer to 224 x 224 than 21 x 21 at 64; 96 x 64 nearer than 384 x 256.
    assert windows[rows][:, 0].tolist() == [1, 0]
    windows, rows = extractor.project(maps, boxes, torch.tensor([0, 1]))
    assert windows[rows][:, 0].tolist() == [0, 1]
    features = extractor.extract(image, boxes).expand()
    for index, scale in ((0, 256), (1, 64)):
        alone = SppExtractor(backbone, replace(SMALL, scales=(scale,)))
        assert torch.equal(features[index], alone.extract(image, boxes).expand()[index])


def test_bfloat16_leaves_the_backbone_in_float32(backbone):
    extractor = SppExtractor(backbone, replace(SMALL, dtype="bfloat16"))
    assert next(backbone.trunk.parameters()).dtype == torch.float32
    assert extractor.encode_image(picture(60, 90))[0].values.dtype == torch.bfloat16


def resnet_extractor(**options):
    backbone = load_backbone(BackboneConfig(name="resnet18_c4"))
    return SppExtractor(backbone, replace(SMALL, **options))


@pytest.mark.parametrize("scales", [(64,), (64, 96)])
def test_several_maps_are_pooled_each_in_its_own_geometry_and_lie_side_by_side(scales):
    image, boxes = picture(60, 90), BOXES
    both = resnet_extractor(scales=scales, maps=("layer3", "layer1"), map_scales=(1.0, 0.5))
    alone = [resnet_extractor(scales=scales, maps=(name,)) for name in both.config.maps]
    expected = [each.extract(image, boxes).expand() for each in alone]
    actual = both.extract(image, boxes)
    assert actual.values.shape[1] == both.feature_dim == sum(each.feature_dim for each in alone)
    joined = torch.cat((expected[0], expected[1] * 0.5), dim=1)
    torch.testing.assert_close(actual.expand(), joined)


def test_boxes_with_the_same_cells_on_every_map_share_a_row():
    image, boxes = picture(60, 90), BOXES
    extractor = resnet_extractor(maps=("layer3", "layer2", "layer1"))
    once = extractor.extract(image, boxes)
    twice = extractor.extract(image, torch.cat((boxes, boxes)))
    assert len(once.values) == len(twice.values)
    torch.testing.assert_close(twice.expand(), once.expand().repeat(2, 1))


def test_wide_rows_of_windows_are_found_distinct_like_narrow_ones():
    windows = torch.randint(0, 3, (60, 2), generator=torch.Generator().manual_seed(0))
    scale = torch.randint(0, 2, (60,), generator=torch.Generator().manual_seed(1))
    narrow, narrow_rows = distinct_windows(scale, windows, 3)
    wide, wide_rows = distinct_windows(scale, windows.repeat(1, 20), 3)
    assert wide[:, :3].equal(narrow)
    assert wide_rows.equal(narrow_rows)
