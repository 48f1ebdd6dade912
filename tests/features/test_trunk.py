import pytest
import torch

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, FeatureConfig
from detection.errors import ConfigError
from detection.features.trunk import ConvTrunk


def network(name="resnet18_c4", dtype="float32", trainable=0):
    backbone, config = BackboneConfig(name=name), FeatureConfig(device="cpu", dtype=dtype)
    return ConvTrunk(load_backbone(backbone), config, trainable)


def test_more_open_layers_than_there_are_is_refused():
    with pytest.raises(ConfigError, match=r"finetune.open_layers: expected at most 5 .*got 6"):
        network(trainable=6)


def test_batch_normalisation_stays_closed():
    opened = network(trainable=1).trainable
    closed = [n for n, p in opened.named_parameters() if not p.requires_grad]
    assert closed
    assert all(".bn" in name or "downsample.1" in name for name in closed)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("count", [0, 2, -1])
def test_opening_layers_does_not_change_the_map(dtype, count):
    closed, opened = network("squeezenet", dtype), network("squeezenet", dtype, count)
    pixels = torch.randn(1, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    expected, actual = closed.conv(pixels).float(), opened.conv(pixels).float()
    tolerance = 1e-5 if dtype == "float32" else 0.05
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()
