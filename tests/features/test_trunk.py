import pytest
import torch

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.errors import ConfigError
from detection.features.trunk import ConvTrunk


def network(name="resnet18_c4", dtype="float32", trainable=0, maps=()):
    backbone, config = (
        BackboneConfig(name=name),
        FeatureConfig(device="cpu", dtype=dtype, maps=maps),
    )
    return ConvTrunk(load_backbone(backbone), config, trainable)


def test_more_open_layers_than_there_are_is_refused():
    with pytest.raises(ConfigError, match=r"finetune.open_layers: expected at most 5 .*got 6"):
        network(trainable=6)


def test_all_parameters_of_open_layers_are_trained_those_of_batch_normalisation_too():
    opened = network(trainable=1).trainable
    assert all(parameter.requires_grad for parameter in opened.parameters())
    assert any("bn1" in name for name, _ in opened.named_parameters())


def test_maps_come_in_the_configured_order_with_their_geometry():
    chosen = network(maps=("layer3", "layer1"))
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    last, early = chosen.conv(pixels)
    assert (last.shape[1:], early.shape[1:]) == ((256, 4, 6), (64, 16, 24))
    assert chosen.channels == (256, 64)
    assert [geometry.stride for geometry in chosen.geometries] == [16, 4]


@pytest.mark.parametrize("count", [0, 1, 2, 3, -1])
def test_maps_are_the_same_wherever_the_trainable_layers_begin(count):
    names = ("layer1", "layer3", "layer2")
    pixels = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    whole = load_backbone(BackboneConfig(name="resnet18_c4")).trunk
    opened = network(trainable=count, maps=names)
    frozen = opened.run_frozen(pixels)
    assert len(frozen) == opened.num_frozen
    for name, values in zip(names, opened.run_trainable(frozen), strict=True):
        index = [n for n, _ in whole.named_children()].index(name)
        expected = whole[: index + 1](pixels)
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)


def test_layers_behind_the_last_map_are_neither_run_nor_trained():
    opened = network(trainable=1, maps=("layer2",))
    assert next(opened.trainable.parameters()).shape[0] == 128


@pytest.mark.parametrize("name", ["resnet18_c4", "squeezenet"])
def test_a_map_that_the_trunk_does_not_have_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=r"features.maps: expected modules of .*got 'layer9'"):
        network(name, maps=("layer9",))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("count", [0, 2, -1])
def test_opening_layers_does_not_change_the_map(dtype, count):
    closed, opened = network("squeezenet", dtype), network("squeezenet", dtype, count)
    pixels = torch.randn(1, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    expected, actual = (n.conv(pixels)[0].float() for n in (closed, opened))
    tolerance = 1e-5 if dtype == "float32" else 0.05
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()
