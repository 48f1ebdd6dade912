"""EfficientNet-Lite 0, 1 and 2: accurate trunks that are cheap on a CPU, built by timm."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.backbones.backbone import BackboneSpec
from detection.backbones.weight_packages import PACKAGES
from detection.errors import ConfigError

OUTPUT_STRIDES = (16, 32)
"""Input pixels per cell of the map; 32 is the network as published."""

_FIRST_BLOCK = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv"}
_FIRST_BLOCK |= {"bn2": "_bn2"}
_OTHER_BLOCK = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv"}
_OTHER_BLOCK |= {"bn2": "_bn1", "conv_pwl": "_project_conv", "bn3": "_bn2"}
"""A block's layers, named by timm, and their names in the packages."""


class Shortcut(nn.Sequential):
    """Layers whose input is added to their output."""

    def forward(self, inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the sum."""
        outputs: Tensor = inputs
        for layer in self:
            outputs = layer(outputs)
        return outputs + inputs


def efficientnet_lite0(output_stride: int = 16) -> BackboneSpec:
    """Return EfficientNet-Lite0: 4.7 million weights with its classifier, crops of 224."""
    return _lite("efficientnet_lite0", output_stride, crop_size=224)


def efficientnet_lite1(output_stride: int = 16) -> BackboneSpec:
    """Return EfficientNet-Lite1: 5.4 million weights with its classifier, crops of 240."""
    return _lite("efficientnet_lite1", output_stride, crop_size=240)


def efficientnet_lite2(output_stride: int = 16) -> BackboneSpec:
    """Return EfficientNet-Lite2: 6.1 million weights with its classifier, crops of 260."""
    return _lite("efficientnet_lite2", output_stride, crop_size=260)


def _lite(name: str, output_stride: int, *, crop_size: int) -> BackboneSpec:
    """Take timm's network apart into named stages: ``stem``, ``stage1`` to ``stage7``, ``head``.

    At output stride 16 the last layer that would halve the map keeps it, and those behind it are
    dilated by 2, as timm does: the same weights, a map of twice the side.

    Source:
        Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite" (TensorFlow blog): no
        squeeze-and-excitation, ReLU6 for swish, stem and head not scaled.
    """
    network = _create(name, output_stride)
    stages = OrderedDict[str, nn.Module](
        stem=_named(*_conv(network.conv_stem, "conv"), *_norm(network.bn1, "bn", "relu"))
    )
    for number, blocks in enumerate(network.blocks, 1):
        stages[f"stage{number}"] = nn.Sequential(*(_block(block) for block in blocks))
    stages["head"] = _named(*_conv(network.conv_head, "conv"), *_norm(network.bn2, "bn", "relu"))
    return BackboneSpec(
        trunk=nn.Sequential(stages),
        channels=network.conv_head.out_channels,
        crop_size=crop_size,
        grid=7,
        last_pool=nn.AdaptiveMaxPool2d(7),
        min_size=32,
        renames=(*_timm_names(network), *_package_names(network)),
        unused=("classifier.", "_fc."),
        package=PACKAGES[name],
        preprocessing="half",
    )


def _create(name: str, output_stride: int) -> Any:
    """Let timm build the network on ``meta``."""
    try:
        import timm
    except ImportError as error:
        message = (
            f"backbone.name: {name} needs the library timm; pip install 'sppnet-detection[trunks]'"
        )
        raise ConfigError(message) from error
    with torch.device("meta"):
        return timm.create_model(f"tf_{name}", output_stride=output_stride)


def _block(block: Any) -> nn.Module:
    """Return one block's layers in the order in which they run."""
    layers: list[tuple[str, nn.Module]] = []
    for name, module in block.named_children():
        if isinstance(module, nn.Conv2d):
            layers += _conv(module, name)
        elif isinstance(module, nn.BatchNorm2d):
            layers += _norm(module, name, name.replace("bn", "relu"))
    return (Shortcut if block.has_skip else nn.Sequential)(OrderedDict(layers))


def _conv(conv: nn.Conv2d, name: str) -> list[tuple[str, nn.Module]]:
    """Return a conv layer, and before it the padding that timm computes at each image anew.

    TensorFlow pads so that n cells become ceil(n / stride), more behind than before, and how much
    depends on n: cells would lie elsewhere on images of another size. Here every n is padded before
    the first cell as TensorFlow pads an even one; where the sides are divisible by the output
    stride, nothing differs.
    """
    if conv.stride == (1, 1):
        return [(name, conv)]
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    before = (kernel - stride) // 2
    behind = kernel - 1 - before
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        kernel,
        stride,
        groups=conv.groups,
        bias=conv.bias is not None,
        device="meta",
    )
    padding = nn.ZeroPad2d((before, behind, before, behind))
    return [(f"{name}_padding", padding), (name, plain)]


def _norm(norm: Any, name: str, activation: str) -> list[tuple[str, nn.Module]]:
    """Return timm's normalisation with activation as two layers."""
    plain = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, device="meta")
    if isinstance(norm.act, nn.Identity):
        return [(name, plain)]
    return [(name, plain), (activation, nn.ReLU6(inplace=True))]


def _named(*layers: tuple[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _timm_names(network: Any) -> tuple[tuple[str, str], ...]:
    """Return the prefixes of timm's own state dict with ours."""
    return (
        ("conv_stem.", "trunk.stem.conv."),
        ("bn1.", "trunk.stem.bn."),
        *((f"blocks.{i}.", f"trunk.stage{i + 1}.") for i in range(len(network.blocks))),
        ("conv_head.", "trunk.head.conv."),
        ("bn2.", "trunk.head.bn."),
    )


def _package_names(network: Any) -> tuple[tuple[str, str], ...]:
    """Return the prefixes of the packages' state dicts, which count blocks through, with ours."""
    places = [(i, j) for i, stage in enumerate(network.blocks, 1) for j in range(len(stage))]
    return (
        ("_conv_stem.", "trunk.stem.conv."),
        ("_bn0.", "trunk.stem.bn."),
        *(
            (f"_blocks.{number}.{theirs}.", f"trunk.stage{i}.{j}.{ours}.")
            for number, (i, j) in enumerate(places)
            for ours, theirs in (_FIRST_BLOCK if i == 1 else _OTHER_BLOCK).items()
        ),
        ("_conv_head.", "trunk.head.conv."),
        ("_bn1.", "trunk.head.bn."),
    )
