"""CaffeNet, the "AlexNet" that R-CNN used: layer by layer as Caffe publishes it."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from detection.backbones.backbone import BackboneSpec


def caffenet() -> BackboneSpec:
    """Return CaffeNet: two groups in conv2, conv4 and conv5, LRN after the first two pools.

    torchvision's AlexNet has no groups, other channel numbers and no normalisation; the AlexNet
    that Caffe publishes beside this one normalises before it pools.

    Source:
        RC §3.1; the release's rcnn_batch_256_output_fc7.prototxt. Map sides: 227 -> 13; pool5
        6 x 6 x 256.
    """
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(3, 96, 11, stride=4, device="meta"),
        relu1=nn.ReLU(inplace=True),
        pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        norm1=_norm(),
        conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2, device="meta"),
        relu2=nn.ReLU(inplace=True),
        pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        norm2=_norm(),
        conv3=nn.Conv2d(256, 384, 3, padding=1, device="meta"),
        relu3=nn.ReLU(inplace=True),
        conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2, device="meta"),
        relu4=nn.ReLU(inplace=True),
        conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2, device="meta"),
        relu5=nn.ReLU(inplace=True),
    )
    return BackboneSpec(
        trunk=nn.Sequential(layers),
        channels=256,
        crop_size=227,
        grid=6,
        last_pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        min_size=64,
        renames=(("conv", "trunk.conv"), ("fc6.", "fc.fc6."), ("fc7.", "fc.fc7.")),
        unused=("fc8.",),
    )


def _norm() -> nn.LocalResponseNorm:
    """Return Caffe's LRN across 5 channels; like Caffe, torch divides alpha by the 5."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
