"""What is known of each backbone and its weights without building it: nothing here needs torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

KIND = "backbone"
"""What the header of an imported weight file calls its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneFacts:
    """A backbone as `detection weights list` shows it.

    Attributes:
        channels: of its map.
        grid: rows and columns of R-CNN's pool5.
        preprocessing: of the published weights, otherwise of the ``.caffemodel``.
        fc: whether weights come with fc layers that a detector can read.
        caffe: whose ``.caffemodel`` can be imported; empty for none.
        published: torchvision's name of its weights; empty where it publishes none.
        file: torchvision's name of their file.
        megabytes: of that file.
        top1: accuracy of the whole network on ImageNet's validation images, in percent.
    """

    channels: int
    grid: int
    preprocessing: str
    fc: bool = False
    caffe: str = ""
    published: str = ""
    file: str = ""
    megabytes: float | None = None
    top1: float | None = None


FACTS = {
    "zf5": BackboneFacts(
        channels=256,
        grid=6,
        preprocessing="constant128",
        fc=True,
        caffe="the SPPnet authors' ZF-5 (Zeiler_conv5)",
    ),
    "convnet5": BackboneFacts(channels=256, grid=6, preprocessing="constant128", fc=True),
    "overfeat5": BackboneFacts(channels=512, grid=6, preprocessing="constant128", fc=True),
    "overfeat7": BackboneFacts(channels=512, grid=6, preprocessing="constant128", fc=True),
    "caffenet": BackboneFacts(
        channels=256,
        grid=6,
        preprocessing="caffe",
        fc=True,
        caffe="BVLC's CaffeNet, and R-CNN's fine-tuned ones",
    ),
    "alexnet": BackboneFacts(
        channels=256,
        grid=6,
        preprocessing="torchvision",
        fc=True,
        published="AlexNet_Weights.IMAGENET1K_V1",
        file="alexnet-owt-7be5be79.pth",
        megabytes=244.4,
        top1=56.522,
    ),
    "vgg16": BackboneFacts(
        channels=512,
        grid=7,
        preprocessing="torchvision",
        fc=True,
        caffe="VGG's 16 layers (VGG_ILSVRC_16_layers)",
        published="VGG16_Weights.IMAGENET1K_V1",
        file="vgg16-397923af.pth",
        megabytes=553.4,
        top1=71.592,
    ),
    "squeezenet": BackboneFacts(
        channels=512,
        grid=6,
        preprocessing="torchvision",
        published="SqueezeNet1_0_Weights.IMAGENET1K_V1",
        file="squeezenet1_0-b66bff10.pth",
        megabytes=5.0,
        top1=58.092,
    ),
    "resnet18_c4": BackboneFacts(
        channels=256,
        grid=7,
        preprocessing="torchvision",
        published="ResNet18_Weights.IMAGENET1K_V1",
        file="resnet18-f37072fd.pth",
        megabytes=46.8,
        top1=69.758,
    ),
    "resnet50_c4": BackboneFacts(
        channels=1024,
        grid=7,
        preprocessing="torchvision",
        published="ResNet50_Weights.IMAGENET1K_V1",
        file="resnet50-0676ba61.pth",
        megabytes=102.5,
        top1=76.13,
    ),
    "efficientnet_lite0": BackboneFacts(channels=1280, grid=7, preprocessing="half"),
    "efficientnet_lite1": BackboneFacts(channels=1280, grid=7, preprocessing="half"),
    "efficientnet_lite2": BackboneFacts(channels=1280, grid=7, preprocessing="half"),
}
"""By backbone; torchvision's table and the networks themselves say the same."""


def download_path(file: str) -> Path:
    """Return where torch keeps a file that it downloads: below TORCH_HOME."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", str(Path(cache) / "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints" / file
