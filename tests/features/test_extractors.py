from dataclasses import replace

import pytest
import torch
from torch.nn.functional import adaptive_max_pool2d

from detection.backbones.weights import BACKBONES, load_backbone
from detection.boxes import flip
from detection.config import BackboneConfig, FeatureConfig
from detection.features.factory import make_extractor
from detection.features.rcnn import RcnnExtractor
from detection.features.sppnet import SppExtractor, distinct_windows
from detection.structures import Image
from tests.features.contract import BOXES, check_extractor, check_features, picture

SMALL = FeatureConfig(scales=(64,), device="cpu", batch_size=4, layer="pool5")
METHODS = ["sppnet", "rcnn"]


@pytest.fixture(scope="module")
def backbone():
    """One small network for what does not depend on the network."""
    return load_backbone(BackboneConfig(name="squeezenet"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [*BACKBONES, "timm/test_convnext"])
def test_every_extractor_with_every_backbone_keeps_its_promises(method, name):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    network = load_backbone(BackboneConfig(name=name))
    few = method == "rcnn" and name in {"vgg16", "resnet50_c4"}
    boxes = BOXES[:3] if few else BOXES
    check_extractor(make_extractor(network, replace(SMALL, method=method)), boxes)


@pytest.mark.parametrize(
    "config",
    [
        replace(SMALL, scales=(64, 96, 128)),
        replace(SMALL, scales=(64, 96), scale_rule="released_code", projection="released_code"),
        replace(SMALL, levels=(4, 2, 1), max_long_side=80),
        replace(SMALL, dtype="bfloat16"),
        replace(SMALL, method="rcnn", warp="square"),
        replace(SMALL, method="rcnn", context=0),
        replace(SMALL, method="rcnn", dtype="bfloat16"),
    ],
)
def test_every_setting_keeps_the_promises(backbone, config):
    check_extractor(make_extractor(backbone, config))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (31, 31), (1, 500), (500, 1), (300, 732)])
def test_images_of_any_size_work(backbone, method, size):
    extractor = make_extractor(backbone, replace(SMALL, method=method))
    boxes = torch.tensor([[0.0, 0, size[1], size[0]], [0, 0, 1, 1]])
    check_features(extractor.extract(picture(*size), boxes), extractor, 2)


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


def test_rcnn_does_not_depend_on_the_batch_size(backbone):
    image = picture(60, 90)
    one = RcnnExtractor(backbone, replace(SMALL, batch_size=1)).extract(image, BOXES)
    many = RcnnExtractor(backbone, replace(SMALL, batch_size=64)).extract(image, BOXES)
    assert torch.allclose(one.expand(), many.expand(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_features_are_the_same_at_every_call(backbone, method):
    extractor = make_extractor(backbone, replace(SMALL, method=method))
    first, second = (extractor.extract(picture(60, 90), BOXES).values for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_is_near_float32(backbone, method):
    image = picture(60, 90)
    full, half = (
        make_extractor(backbone, replace(SMALL, method=method, dtype=dtype))
        .extract(image, BOXES)
        .expand()
        for dtype in ("float32", "bfloat16")
    )
    error = (full - half).norm(dim=1) / full.norm(dim=1)
    assert 0 < error.max() < 0.05


def test_bfloat16_leaves_the_backbone_in_float32(backbone):
    extractor = SppExtractor(backbone, replace(SMALL, dtype="bfloat16"))
    assert next(extractor.network.trunk.parameters()).dtype == torch.bfloat16
    assert next(backbone.trunk.parameters()).dtype == torch.float32
    assert extractor.encode_image(picture(60, 90))[0].values.dtype == torch.bfloat16


def test_rcnn_sees_the_mirrored_crop_in_the_mirrored_image(backbone):
    """The release puts the centre half a pixel to the right: nearly, not exactly."""
    extractor = RcnnExtractor(backbone, SMALL)
    image = picture(200, 300)
    mirrored = Image(image_id="m", pixels=image.pixels.flip(1))
    box = torch.tensor([[50.0, 40, 200, 160]])
    crop = extractor.warp(extractor.encode_image(image), box)
    other = extractor.warp(extractor.encode_image(mirrored), flip(box, 300))
    assert (crop - other.flip(3)).abs().mean() < 0.2 * crop.std()


def test_sppnet_has_nothing_to_train_and_rcnn_everything():
    network = load_backbone(BackboneConfig(name="squeezenet"))
    assert not list(SppExtractor(network, SMALL).unfreeze(-1).trainable.parameters())
    rcnn = RcnnExtractor(network, SMALL)
    opened = rcnn.unfreeze(-1)
    own = {id(p) for p in opened.backbone.trunk.parameters()}
    assert {id(p) for p in opened.trainable.parameters()} == own
    assert own.isdisjoint(id(p) for p in network.trunk.parameters())
    assert not any(p.requires_grad for p in network.trunk.parameters())
    assert not list(rcnn.trainable.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_open_layers_and_no_others(method):
    network = load_backbone(BackboneConfig(name="squeezenet"))
    extractor = make_extractor(network, replace(SMALL, method=method)).unfreeze(1)
    maps = extractor.run_trainable(extractor.run_frozen(picture(60, 90)))
    extractor.pool(maps, BOXES).expand().square().mean().backward()
    inside = {id(parameter) for parameter in extractor.trainable.parameters()}
    assert inside
    for parameter in extractor.backbone.trunk.parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert moved == (id(parameter) in inside)


def test_fc_layers_are_given_only_where_they_fit(tmp_path):
    network = load_backbone(BackboneConfig(name="squeezenet"))
    assert RcnnExtractor(network, SMALL).pretrained_fc() is None
    state = load_backbone(BackboneConfig(name="zf5")).state_dict()
    state |= {"fc6.weight": torch.zeros(8, 12800), "fc6.bias": torch.zeros(8)}
    state |= {"fc7.weight": torch.zeros(4, 8), "fc7.bias": torch.zeros(4)}
    torch.save(state, tmp_path / "zf5.pt")
    spp = load_backbone(BackboneConfig(name="zf5", weights=str(tmp_path / "zf5.pt")))
    assert SppExtractor(spp, SMALL).pretrained_fc() is spp.fc
    assert RcnnExtractor(spp, SMALL).pretrained_fc() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_the_gpu_gives_nearly_the_same_features(method):
    network = load_backbone(BackboneConfig(name="zf5"))
    image = picture(60, 90)
    config = replace(SMALL, method=method)
    expected = make_extractor(network, config).extract(image, BOXES).expand()
    extractor = make_extractor(network, replace(config, device="cuda"))
    check_extractor(extractor)
    actual = extractor.extract(image, BOXES).expand().cpu()
    assert torch.allclose(actual, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))
