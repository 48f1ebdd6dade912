"""Networks that torchvision publishes, each cut after the last conv layer before its last pool."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from detection.backbones.backbone import BackboneSpec
from detection.lazy import lazy

models = lazy("torchvision.models")


def alexnet() -> BackboneSpec:
    """Return torchvision's AlexNet (one tower, conv1 padded by 2); pool5 is 6 x 6 (RC §3.1)."""
    with torch.device("meta"):
        features = models.alexnet().features
    return BackboneSpec(
        trunk=features[:-1],
        channels=256,
        crop_size=227,
        grid=6,
        last_pool=nn.MaxPool2d(3, stride=2),
        min_size=64,
        renames=(
            ("features.", "trunk."),
            ("classifier.1.", "fc.fc6."),
            ("classifier.4.", "fc.fc7."),
        ),
        unused=("classifier.6.",),
        published="alexnet",
    )


def vgg16() -> BackboneSpec:
    """Return VGG16 up to conv5_3; pool5 is 7 x 7."""
    with torch.device("meta"):
        features = models.vgg16().features
    return BackboneSpec(
        trunk=features[:-1],
        channels=512,
        crop_size=224,
        grid=7,
        last_pool=nn.MaxPool2d(2, stride=2),
        min_size=32,
        renames=(
            ("features.", "trunk."),
            ("classifier.0.", "fc.fc6."),
            ("classifier.3.", "fc.fc7."),
        ),
        unused=("classifier.6.",),
        published="vgg16",
    )


def squeezenet() -> BackboneSpec:
    """Return SqueezeNet 1.0 up to fire9, without fc layers or a final max pool."""
    with torch.device("meta"):
        features = models.squeezenet1_0().features
    return BackboneSpec(
        trunk=features,
        channels=512,
        crop_size=227,
        grid=6,
        last_pool=nn.AdaptiveMaxPool2d(6),
        min_size=32,
        renames=(("features.", "trunk."),),
        unused=("classifier.",),
        published="squeezenet1_0",
    )


def resnet18_c4() -> BackboneSpec:
    """Return ResNet-18 up to its last block of stride 16."""
    return _resnet_c4("resnet18", channels=256)


def resnet50_c4() -> BackboneSpec:
    """Return ResNet-50 up to its last block of stride 16."""
    return _resnet_c4("resnet50", channels=1024)


def _resnet_c4(name: str, *, channels: int) -> BackboneSpec:
    """Cut a ResNet after layer3."""
    with torch.device("meta"):
        model = models.get_model(name)
    parts = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    return BackboneSpec(
        trunk=nn.Sequential(OrderedDict((part, model.get_submodule(part)) for part in parts)),
        channels=channels,
        crop_size=224,
        grid=7,
        last_pool=nn.AdaptiveMaxPool2d(7),
        min_size=32,
        renames=tuple(
            (f"{part}.", f"trunk.{part}.") for part in parts if part not in {"relu", "maxpool"}
        ),
        unused=("layer4.", "fc."),
        published=name,
    )
