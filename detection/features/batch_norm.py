"""Batch normalisation at test time: an affine map that the conv layer before it can do."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from detection.backbones.geometry import evaluating
from detection.errors import ConfigError

BatchNorm = nn.modules.batchnorm._BatchNorm


def fold_batch_norm(layers: nn.Sequential) -> nn.Sequential:
    """Return layers in which each batch normalisation is part of the conv layer that it reads.

    ``gamma (W x - mean) / sqrt(var + eps) + beta`` is a convolution with other weights: the result
    is the same up to rounding, and a pass over the map less. An activation that belongs to the
    normalisation stays behind. Layers without batch normalisation come back as they are, and so do
    those in which something else reads a conv layer too, as the first one of a ResNet v2; others
    come back as a copy in evaluation mode.

    Args:
        layers: a trunk or its first layers, called with images; not on ``meta``.
    """
    pairs = _pairs(layers)
    if not pairs:
        return layers
    folded = copy.deepcopy(layers).eval()
    for conv_name, norm_name in pairs:
        norm = cast(BatchNorm, folded.get_submodule(norm_name))
        _fold(cast(nn.Conv2d, folded.get_submodule(conv_name)), norm)
        parent, _, name = norm_name.rpartition(".")
        setattr(folded.get_submodule(parent), name, _rest(norm))
    return folded if _agree(layers, folded) else layers


def _sample(layers: nn.Module) -> Tensor:
    """Return an image of noise."""
    noise = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    return noise.to(next(m.weight for m in layers.modules() if isinstance(m, nn.Conv2d)))


def _agree(layers: nn.Sequential, folded: nn.Sequential) -> bool:
    """Compare what both compute of noise."""
    with evaluating(layers):
        expected, actual = (each(_sample(each)) for each in (layers, folded))
    return bool((actual - expected).abs().max() <= 1e-3 * expected.abs().max())


def _pairs(layers: nn.Module) -> list[tuple[str, str]]:
    """Return (conv layer, normalisation) by name where the second reads what the first returns."""
    convs = {name: m for name, m in layers.named_modules() if isinstance(m, nn.Conv2d)}
    norms = {name: m for name, m in layers.named_modules() if isinstance(m, BatchNorm)}
    if not norms or not convs:
        return []
    written: dict[int, str] = {}
    kept: list[Tensor] = []  # alive until the end: an id is not given to a second tensor
    pairs: list[tuple[str, str]] = []

    def note(name: str, output: Tensor) -> None:
        written[id(output)] = name
        kept.append(output)

    hooks = [
        conv.register_forward_hook(lambda _m, _x, y, name=name: note(name, y))
        for name, conv in convs.items()
    ]
    hooks += [
        norm.register_forward_hook(
            lambda _m, x, _y, name=name: pairs.append((written.get(id(x[0]), ""), name))
        )
        for name, norm in norms.items()
    ]
    try:
        with evaluating(layers):
            layers(_sample(layers))
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair in pairs if pair[0]]


def _fold(conv: nn.Conv2d, norm: BatchNorm) -> None:
    """Put a normalisation into the weights and the bias of a conv layer."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        message = "batch normalisation: expected one that keeps its statistics, got one without"
        raise ConfigError(message)
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )
    conv.requires_grad_(requires_grad=False)


def _rest(norm: nn.Module) -> nn.Module:
    """Return what a normalisation does besides normalising: the activation that timm puts there."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()
