"""Any convolutional trunk of the timm library, cut at stride 16."""

from __future__ import annotations

import logging
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.backbones.backbone import Backbone, Blueprint, Preprocessing
from detection.backbones.geometry import trunk_geometry
from detection.config import BackboneConfig
from detection.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

_STRIDE = 16
_PUBLISHED = {"timm", "torchvision"}
_UNREAD = {"none", "stored"}


class LastMap(nn.Module):
    """The last of the maps that a ``features_only`` network gives."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c rows columns"]:
        """Give the map of stride 16."""
        return self.network(inputs)[-1]  # type: ignore[no-any-return]


def timm_backbone(config: BackboneConfig) -> Backbone:
    """Give ``timm/<model>`` cut at stride 16, frozen, in evaluation mode.

    ``backbone.weights`` is ``none``, ``torchvision`` (meaning published: timm downloads them) or a
    file that holds timm's own state dict. Such maps may be negative: their last layer need not be a
    ReLU.

    Raises:
        ConfigError: without timm, for an unknown model, and for one without a map of stride 16.
        CheckpointError: if the weights cannot be had or do not fit.
    """
    network = _create(config)
    settings: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}
    mean, std = settings.get("mean", (0.485, 0.456, 0.406)), settings.get("std", (0.229,) * 3)
    trunk = LastMap(network)
    blueprint = Blueprint(
        trunk=trunk,
        channels=int(network.feature_info.channels()[-1]),  # type: ignore[union-attr,operator]
        crop_size=224,
        grid=7,
        last_pool=nn.AdaptiveMaxPool2d(7),
        min_size=64,
        renames=(),
    )
    preprocessing = Preprocessing(order="rgb", scale=255.0, mean=tuple(mean), std=tuple(std))
    backbone = Backbone(config.name, blueprint, trunk_geometry(trunk), preprocessing)
    return backbone.requires_grad_(requires_grad=False).eval()


def _create(config: BackboneConfig) -> nn.Module:
    """Let timm build the network, with random weights drawn from the configured seed."""
    try:
        import timm
    except ImportError as error:
        message = f"backbone.name: {config.name} needs the library timm; pip install timm"
        raise ConfigError(message) from error
    name = config.name.split("/", 1)[1]
    published = config.weights in _PUBLISHED
    file = None if published or config.weights in _UNREAD else config.weights
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            probe = timm.create_model(name, pretrained=False, features_only=True)
            index = _level(config.name, probe.feature_info.reduction())
            return timm.create_model(  # type: ignore[no-any-return]
                name, pretrained=published, features_only=True, out_indices=(index,)
            )
    except ConfigError:
        raise
    except Exception as error:
        message = f"{config.name}: {error}"
        raise (CheckpointError if published or file else ConfigError)(message) from error


def _level(name: str, reductions: list[int]) -> int:
    """Find the map of stride 16 (the last one, where there are several)."""
    if _STRIDE not in reductions:
        message = (
            f"backbone.name: expected a network with a map of stride {_STRIDE}, got {name} with "
            f"strides {reductions}"
        )
        raise ConfigError(message)
    return len(reductions) - 1 - reductions[::-1].index(_STRIDE)
