"""Convnet*-5, Overfeat-5 and Overfeat-7: the networks beside ZF-5 that SPPnet was shown on.

Nobody publishes their weights: they are trained by ``detection pretrain``, as the paper did. Where
its Table 1 leaves a value open, docs/differences.md names the one taken here.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from detection.backbones.backbone import BackboneSpec
from detection.backbones.zf5 import WithinChannelNorm

_RENAMES = (("conv", "trunk.conv"), ("fc6.", "fc.fc6."), ("fc7.", "fc.fc7."))


def convnet5() -> BackboneSpec:
    """Return Convnet*-5: Krizhevsky et al.'s layers, pooled after conv2 and conv3.

    Source:
        SPP Table 1, §3.1.1. Map sides at 224 after each layer, as ZF-5's: 55, 27, 13, 13, 13.
    """
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(3, 96, 11, stride=4, padding=2, device="meta"),
        relu1=nn.ReLU(inplace=True),
        norm1=WithinChannelNorm(),
        conv2=nn.Conv2d(96, 256, 5, padding=2, device="meta"),
        relu2=nn.ReLU(inplace=True),
        norm2=WithinChannelNorm(),
        pool2=nn.MaxPool2d(3, stride=2),
        conv3=nn.Conv2d(256, 384, 3, padding=1, device="meta"),
        relu3=nn.ReLU(inplace=True),
        pool3=nn.MaxPool2d(3, stride=2),
        conv4=nn.Conv2d(384, 384, 3, padding=1, device="meta"),
        relu4=nn.ReLU(inplace=True),
        conv5=nn.Conv2d(384, 256, 3, padding=1, device="meta"),
        relu5=nn.ReLU(inplace=True),
    )
    return _spec(layers, channels=256, last_pool=nn.MaxPool2d(3, stride=2), min_size=31)


def overfeat5() -> BackboneSpec:
    """Return Overfeat-5: maps of 18 x 18 cells at 224, 512 filters from conv3 on."""
    return _overfeat(5)


def overfeat7() -> BackboneSpec:
    """Return Overfeat-7: Overfeat-5 with two more layers like conv3."""
    return _overfeat(7)


def _overfeat(depth: int) -> BackboneSpec:
    """Return Overfeat with so many conv layers.

    Source:
        SPP Table 1, §3.1.1. Map sides at 224 after each layer: 36, then 18.
    """
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(3, 96, 7, stride=2, device="meta"),
        relu1=nn.ReLU(inplace=True),
        pool1=nn.MaxPool2d(3, stride=3),
        norm1=WithinChannelNorm(),
        conv2=nn.Conv2d(96, 256, 5, padding=2, device="meta"),
        relu2=nn.ReLU(inplace=True),
        pool2=nn.MaxPool2d(2, stride=2),
    )
    for number in range(3, depth + 1):
        channels = 256 if number == 3 else 512
        layers[f"conv{number}"] = nn.Conv2d(channels, 512, 3, padding=1, device="meta")
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
    return _spec(layers, channels=512, last_pool=nn.MaxPool2d(3, stride=3), min_size=17)


def _spec(
    layers: OrderedDict[str, nn.Module], *, channels: int, last_pool: nn.Module, min_size: int
) -> BackboneSpec:
    """Return a network whose last pool has 6 x 6 cells at 224 (SPP §3.1.1)."""
    return BackboneSpec(
        trunk=nn.Sequential(layers),
        channels=channels,
        crop_size=224,
        grid=6,
        last_pool=last_pool,
        min_size=min_size,
        renames=_RENAMES,
        unused=("fc8.",),
        preprocessing="constant128",
    )
