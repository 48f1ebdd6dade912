import hashlib

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from detection.backbones.backbone import PREPROCESSINGS
from detection.backbones.weight_import import import_weights, save_imported
from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.errors import CheckpointError, ConfigError
from detection.features.factory import make_extractor
from tests.backbones.caffe.files import CONVS, caffe_file
from tests.backbones.caffe.writer import V0, V1, V2, blob, layer, network, random_blobs

LEVELS = (1, 2, 3, 6)


def as_tensors(pair):
    return [torch.from_numpy(array) for array in pair]


@pytest.mark.parametrize(
    ("name", "form", "legacy"),
    [("zf5", V0, True), ("zf5", V1, True), ("caffenet", V1, True), ("vgg16", V2, False)],
)
def test_a_published_network_is_imported_and_needs_no_preprocessing(tmp_path, name, form, legacy):
    source, stored = caffe_file(tmp_path, name, form, legacy=legacy)
    imported = import_weights(source, name)
    out = tmp_path / "own.safetensors"
    save_imported(out, imported)
    backbone = load_backbone(BackboneConfig(name=name, weights=str(out)))
    convs = [m for m in backbone.trunk if isinstance(m, torch.nn.Conv2d)]
    for conv, own in zip(convs, CONVS[name], strict=True):
        weight, bias = as_tensors(stored[own])
        assert torch.equal(conv.weight, weight)
        assert torch.equal(conv.bias, bias)
    expected = "constant128" if name == "zf5" else "caffe"
    assert backbone.preprocessing == PREPROCESSINGS[expected]
    assert backbone.preprocessing.order == "bgr"
    for own in ("fc6", "fc7"):
        weight, bias = as_tensors(stored[own])
        assert torch.equal(backbone.fc.get_submodule(own).weight, weight)
        assert torch.equal(backbone.fc.get_submodule(own).bias, bias)
    assert dict(imported.header) == {
        "kind": "backbone",
        "backbone": name,
        "preprocessing": expected,
        "source": f"{name}.caffemodel",
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "levels": list(LEVELS) if name == "zf5" else [],
    }


def test_without_fc_layers_the_trunk_is_imported(tmp_path):
    source, _ = caffe_file(tmp_path, "zf5", fc=None)
    imported = import_weights(source, "zf5")
    assert "no fc layers" in imported.format()
    assert all(key.startswith("trunk.") for key in imported.tensors)


def test_rcnn_crops_of_zf5_have_their_own_fc6(tmp_path):
    source, _ = caffe_file(tmp_path, "zf5", fc={"zf5": 9216})
    imported = import_weights(source, "zf5")
    assert imported.header["levels"] == []
    save_imported(tmp_path / "own.safetensors", imported)
    backbone = load_backbone(BackboneConfig(name="zf5", weights=str(tmp_path / "own.safetensors")))
    rcnn = make_extractor(backbone, FeatureConfig(method="rcnn", device="cpu"))
    assert rcnn.pretrained_fc() is backbone.fc


def test_grid_and_fc6_of_crops_flatten_channel_row_column(tmp_path):
    """Caffe's fc6 weight (o, c y x) meets this package's pool5 of a crop."""
    source, stored = caffe_file(tmp_path, "caffenet", V1, legacy=True)
    save_imported(tmp_path / "own.safetensors", import_weights(source, "caffenet"))
    config = BackboneConfig(name="caffenet", weights=str(tmp_path / "own.safetensors"))
    extractor = make_extractor(load_backbone(config), FeatureConfig(method="rcnn", device="cpu"))
    crop = torch.randn(1, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pool5 = extractor.backbone.last_pool(extractor.backbone(crop))[0]
        fc6 = extractor.pretrained_fc().fc6(extractor.conv(crop))[0]
    weight, bias = as_tensors(stored["fc6"])
    cubes = weight.reshape(5, 256, 6, 6)
    assert torch.allclose(fc6, (cubes * pool5).sum(dim=(1, 2, 3)) + bias, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("levels", [(1, 2, 3), (1, 2, 3, 5), (1, 1, 2, 3, 6), (6, 4, 2, 1)])
def test_another_pyramid_is_refused(tmp_path, levels):
    source, _ = caffe_file(tmp_path, "zf5")
    with pytest.raises(ConfigError, match="levels: expected 1, 2, 3 and 6 in some order"):
        import_weights(source, "zf5", levels=levels)


MATRIX = random_blobs((5, 12800), 0)[1]
WRONG = {
    "a missing conv": ({"conv3": None}, "expected the layers of zf5, got none named conv3"),
    "one fc layer": ({"fc7": None}, "got none named fc7"),
    "another kernel": (
        {"conv1": random_blobs((96, 3, 5, 5), 0)[1]},
        r"layer conv1: expected weight \(96, 3, 7, 7\), got \(96, 3, 5, 5\)",
    ),
    "another bias": (
        {"conv1": (random_blobs((96, 3, 7, 7), 0)[1][0], blob([1.0, 2.0]))},
        r"layer conv1: expected bias \(96,\), got \(2,\)",
    ),
    "no bias": (
        {"conv1": random_blobs((96, 3, 7, 7), 0)[1][:1]},
        "layer conv1: expected weights and bias, got 1 blobs",
    ),
    "another pool5": (
        {"fc6": random_blobs((5, 12544), 0)[1]},
        r"layer fc6: expected 9,216 inputs \(R-CNN's pool5\) or 12,800 .*got 12,544",
    ),
    "fc layers that do not fit": (
        {"fc7": random_blobs((4, 6), 0)[1]},
        r"layer fc7: expected weight \(4, 5\), got \(4, 6\)",
    ),
    "an fc layer that is no matrix": (
        {"fc6": random_blobs((2, 2, 2, 3), 0)[1]},
        r"layer fc6: expected a matrix, got shape \(2, 2, 2, 3\)",
    ),
    "NaN": (
        {"fc6": (MATRIX[0], blob([1.0, float("nan"), 2, 3, 4]))},
        "layer fc6: expected finite bias, got NaN or infinity",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_network_that_is_not_this_one_is_refused_by_layer(tmp_path, what):
    changes, match = WRONG[what]
    source, _ = caffe_file(tmp_path, "zf5", changes=changes)
    with pytest.raises(CheckpointError, match=match) as caught:
        import_weights(source, "zf5")
    assert str(source) in str(caught.value)


def test_layers_between_the_convs_are_refused(tmp_path):
    source, _ = caffe_file(tmp_path, "zf5")
    content = network([layer(V2, "conv3_4", [blob([1.0])])]) + source.read_bytes()
    source.write_bytes(content)
    with pytest.raises(CheckpointError, match="expected the layers of zf5, got 'conv3_4' among"):
        import_weights(source, "zf5")


def test_a_repeated_layer_is_refused(tmp_path):
    source, _ = caffe_file(tmp_path, "zf5")
    source.write_bytes(source.read_bytes() + network([layer(V2, "conv1", [blob([1.0])])]))
    with pytest.raises(CheckpointError, match="expected each layer once, got 'conv1' twice"):
        import_weights(source, "zf5")


def test_caffes_other_alexnet_is_refused_for_its_order(tmp_path):
    source, _ = caffe_file(tmp_path, "caffenet")
    first = network([layer(V2, "norm1"), layer(V2, "pool1")])
    source.write_bytes(first + source.read_bytes())
    with pytest.raises(CheckpointError, match="normalises first"):
        import_weights(source, "caffenet")
    source.write_bytes(source.read_bytes()[len(first) :])
    assert import_weights(source, "caffenet").header["backbone"] == "caffenet"


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("alexnet", "got 'alexnet'; Caffe's AlexNet as R-CNN used it is caffenet"),
        ("vgg61", "vgg61"),
    ],
)
def test_a_backbone_that_caffe_never_had_is_refused(tmp_path, name, match):
    source, _ = caffe_file(tmp_path, "zf5")
    with pytest.raises(ConfigError, match=match):
        import_weights(source, name)


@pytest.fixture(scope="module")
def state():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return models.squeezenet1_0().state_dict()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_torchvisions_weights_are_imported_with_their_preprocessing_named(tmp_path, state, suffix):
    source = tmp_path / f"net.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(state, source)
    with pytest.raises(ConfigError, match=r"preprocessing: expected one of caffe, .*got 'auto'"):
        import_weights(source, "squeezenet")
    imported = import_weights(source, "squeezenet", preprocessing="torchvision")
    out = tmp_path / "own.safetensors"
    save_imported(out, imported)
    backbone = load_backbone(BackboneConfig(name="squeezenet", weights=str(out)))
    assert torch.equal(backbone.trunk[0].weight, state["features.0.weight"])
    assert backbone.preprocessing == PREPROCESSINGS["torchvision"]
    again = import_weights(out, "squeezenet")
    assert again.header["preprocessing"] == "torchvision"
    assert again.tensors.keys() == imported.tensors.keys()
    with pytest.raises(ConfigError, match=r"expected torchvision, which .* says of itself"):
        import_weights(out, "squeezenet", preprocessing="caffe")


def test_a_state_dict_of_another_network_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"net.pth: expected the keys of this backbone"):
        import_weights(tmp_path / "net.pth", "vgg16", preprocessing="torchvision")


@pytest.fixture
def own(tmp_path):
    source, _ = caffe_file(tmp_path, "zf5", fc=None)
    save_imported(tmp_path / "own.safetensors", import_weights(source, "zf5"))
    return str(tmp_path / "own.safetensors")


def test_a_conflicting_preprocessing_is_refused(own):
    with pytest.raises(ConfigError, match=r"backbone.preprocessing: expected constant128, which"):
        load_backbone(BackboneConfig(name="zf5", weights=own, preprocessing="caffe"))
    load_backbone(BackboneConfig(name="zf5", weights=own, preprocessing="constant128"))


def test_an_imported_file_of_another_backbone_is_refused(own):
    with pytest.raises(CheckpointError, match="expected the weights of caffenet, got those of zf5"):
        load_backbone(BackboneConfig(name="caffenet", weights=own))


def test_a_preprocessing_may_be_named_for_a_caffemodel(tmp_path):
    source, _ = caffe_file(tmp_path, "zf5", fc=None)
    imported = import_weights(source, "zf5", preprocessing="caffe")
    assert imported.header["preprocessing"] == "caffe"
