from dataclasses import replace

import pytest
import torch

from detection.backbones.weights import BACKBONES, load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.features.factory import make_extractor
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
