"""Any convolutional trunk of the timm library, cut at stride 16."""

from __future__ import annotations

import logging
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.backbones.backbone import PREPROCESSINGS, Backbone, BackboneSpec, Preprocessing
from detection.backbones.geometry import trunk_geometry
from detection.backbones.weight_packages import package_file
from detection.config import BackboneConfig
from detection.errors import CheckpointError, ConfigError
from detection.io.interrupts import raise_if_interrupted

logger = logging.getLogger(__name__)

_STRIDE = 16
_UNREAD = {"none", "stored"}


class LastMap(nn.Module):
    """The last of the maps that a ``features_only`` network returns."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c rows columns"]:
        """Return the stride-16 feature map."""
        conv: Tensor = self.network(inputs)[-1]
        return conv


def timm_backbone(config: BackboneConfig) -> Backbone:
    """Return ``timm/<model>`` cut at stride 16, frozen, in evaluation mode.

    ``backbone.weights`` is ``none``, ``torchvision`` (meaning the published ones: timm downloads
    them) or a file that holds timm's own state dict. Such maps may be negative: their last layer
    need not be a ReLU.

    Raises:
        ConfigError: without timm, for an unknown model, for one that is not convolutional or has
            no map of stride 16, and for weights from a package.
        CheckpointError: if the weights cannot be had, do not fit or are not finite.
    """
    if config.weights == "package":
        package_file(config.name, None)
    network, channels = _create(config)
    trunk = LastMap(network).eval()
    _check(config, trunk, channels)
    settings: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}
    preprocessing = Preprocessing(
        order="rgb",
        scale=255.0,
        mean=tuple(settings.get("mean", PREPROCESSINGS["torchvision"].mean)),
        std=tuple(settings.get("std", PREPROCESSINGS["torchvision"].std)),
    )
    if config.preprocessing != "auto":
        preprocessing = PREPROCESSINGS[config.preprocessing]
    spec = BackboneSpec(
        trunk=trunk,
        channels=channels,
        crop_size=224,
        grid=7,
        last_pool=nn.AdaptiveMaxPool2d(7),
        min_size=64,
        renames=(),
    )
    backbone = Backbone(config.name, spec, trunk_geometry(trunk), preprocessing)
    return backbone.requires_grad_(requires_grad=False).eval()


def _create(config: BackboneConfig) -> tuple[nn.Module, int]:
    """Let timm build the network (random weights from the configured seed), and its channels."""
    try:
        import timm
    except ImportError as error:
        message = f"backbone.name: {config.name} needs the library timm; pip install timm"
        raise ConfigError(message) from error
    name = config.name.split("/", 1)[1]
    options: dict[str, Any] = {"pretrained": config.weights not in _UNREAD}
    if config.weights not in {*_UNREAD, "torchvision"}:
        options["pretrained_cfg_overlay"] = {"file": config.weights}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            probe = timm.create_model(name, pretrained=False, features_only=True)
            strides = probe.feature_info.reduction()
        except Exception as error:
            raise_if_interrupted(error)
            message = f"backbone.name: {config.name} is no network that timm can cut: {error}"
            raise ConfigError(message) from error
        index = _level(config.name, strides)
        try:
            network = timm.create_model(name, features_only=True, out_indices=(index,), **options)
        except Exception as error:
            raise_if_interrupted(error)
            message = (
                f"{config.name}: weights {config.weights!r} cannot be had or do not fit: {error}; "
                "set backbone.weights to a file or to 'none'"
            )
            raise CheckpointError(message) from error
    return network, int(network.feature_info.channels()[-1])


def _check(config: BackboneConfig, trunk: nn.Module, channels: int) -> None:
    """Refuse weights that are not finite, and networks that need one size or return no maps."""
    broken = [k for k, t in trunk.state_dict().items() if not bool(torch.isfinite(t).all())]
    if broken:
        message = f"{config.weights}: expected finite weights, got NaN or infinity in {broken[0]}"
        raise CheckpointError(message)
    try:
        with torch.no_grad():
            shape = tuple(trunk(torch.zeros(1, 3, 160, 192)).shape)
    except (AssertionError, RuntimeError, ValueError) as error:
        shape = (str(error),)
    if shape != (1, channels, 10, 12):
        message = (
            "backbone.name: expected a convolutional network for images of any size, "
            f"got {config.name}, which turns 160 x 192 pixels into {shape}"
        )
        raise ConfigError(message)
    if config.weights == "none":
        logger.warning(
            "backbone %s: RANDOM weights (seed %d): good for timing and tests, not for accuracy",
            config.name,
            config.seed,
        )


def _level(name: str, strides: list[int]) -> int:
    """Find the last map of stride 16."""
    if _STRIDE not in strides:
        message = (
            f"backbone.name: expected a network with a map of stride {_STRIDE}, got {name} with "
            f"strides {strides}"
        )
        raise ConfigError(message)
    return len(strides) - 1 - strides[::-1].index(_STRIDE)
