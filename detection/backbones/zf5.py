"""ZF-5 (Zeiler and Fergus), layer by layer as the SPPnet authors released it."""

from __future__ import annotations

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from detection.backbones.backbone import BackboneSpec

CONV_BIASES = {"conv1": 0.0, "conv2": 1.0, "conv3": 0.0, "conv4": 1.0, "conv5": 1.0}
"""Initial biases for pretraining (Zeiler_conv5.prototxt)."""


class WithinChannelNorm(nn.Module):
    """Local response normalisation inside each channel, over 3 x 3 neighbours.

    ``x * (1 + alpha * mean(x * x)) ** -0.75``, the mean over the zero-padded neighbourhood, always
    divided by 9. ``nn.LocalResponseNorm`` is the other kind, across channels.

    Source:
        Zeiler_conv5.prototxt (WITHIN_CHANNEL, size 3, alpha 5e-5, beta 0.75); Caffe's LRN layer.
    """

    def __init__(self, alpha: float = 5e-5) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the normalised values; y ** -0.75 is computed as rsqrt(y) * sqrt(rsqrt(y))."""
        root = (functional.avg_pool2d(x * x, 3, 1, 1) * self.alpha + 1).rsqrt()
        return x * root * root.sqrt()


def zf5() -> BackboneSpec:
    """Return ZF-5: conv-ReLU-LRN-pool, pads 1, 0, 1, 1, 1, ceil-mode pools, no groups.

    Source:
        SPP §3.1.1; Zeiler_conv5.prototxt of the release. Map sides: 224 -> 13, 180 -> 10.
    """
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(3, 96, 7, stride=2, padding=1, device="meta"),
        relu1=nn.ReLU(inplace=True),
        norm1=WithinChannelNorm(),
        pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        conv2=nn.Conv2d(96, 256, 5, stride=2, device="meta"),
        relu2=nn.ReLU(inplace=True),
        norm2=WithinChannelNorm(),
        pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        conv3=nn.Conv2d(256, 384, 3, padding=1, device="meta"),
        relu3=nn.ReLU(inplace=True),
        conv4=nn.Conv2d(384, 384, 3, padding=1, device="meta"),
        relu4=nn.ReLU(inplace=True),
        conv5=nn.Conv2d(384, 256, 3, padding=1, device="meta"),
        relu5=nn.ReLU(inplace=True),
    )
    return BackboneSpec(
        trunk=nn.Sequential(layers),
        channels=256,
        crop_size=227,
        grid=6,
        last_pool=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        min_size=32,
        renames=(("conv", "trunk.conv"), ("fc6.", "fc.fc6."), ("fc7.", "fc.fc7.")),
        unused=("fc8.",),
        preprocessing="constant128",
    )


def initialise_for_pretraining(trunk: nn.Module, generator: torch.Generator) -> None:
    """Set ZF-5's conv layers in place as the release does: N(0, 0.01), biases 0, 1, 0, 1, 1.

    Only for training from scratch: without training, such small weights send every image to the
    same map.
    """
    for name, bias in CONV_BIASES.items():
        layer = trunk.get_submodule(name)
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.normal_(layer.weight, std=0.01, generator=generator)
            nn.init.constant_(layer.bias, bias)
