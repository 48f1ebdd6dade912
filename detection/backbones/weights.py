"""Load a backbone by name, with its weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from detection.backbones.backbone import PREPROCESSINGS, Backbone, BackboneSpec, Preprocessing
from detection.backbones.caffenet import caffenet
from detection.backbones.efficientnet_lite import (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
from detection.backbones.facts import KIND
from detection.backbones.geometry import trunk_geometry
from detection.backbones.own import OWN
from detection.backbones.published import alexnet, resnet18_c4, resnet50_c4, squeezenet, vgg16
from detection.backbones.spp_networks import convnet5, overfeat5, overfeat7
from detection.backbones.state_dict import build_fc, fill, rename
from detection.backbones.timm_trunk import timm_backbone
from detection.backbones.weight_files import published_file, read_state
from detection.backbones.weight_packages import package_file
from detection.backbones.zf5 import zf5
from detection.config import BackboneConfig
from detection.errors import CheckpointError, ConfigError
from detection.io.tensors import load_tensors

logger = logging.getLogger(__name__)

_STRIDED: dict[str, Callable[[int], BackboneSpec]] = {
    "efficientnet_lite0": efficientnet_lite0,
    "efficientnet_lite1": efficientnet_lite1,
    "efficientnet_lite2": efficientnet_lite2,
}
"""What can be built for more than one output stride."""

BACKBONES: dict[str, Callable[[], BackboneSpec]] = {
    "zf5": zf5,
    "convnet5": convnet5,
    "overfeat5": overfeat5,
    "overfeat7": overfeat7,
    "caffenet": caffenet,
    "alexnet": alexnet,
    "vgg16": vgg16,
    "squeezenet": squeezenet,
    "resnet18_c4": resnet18_c4,
    "resnet50_c4": resnet50_c4,
    "efficientnet_lite0": efficientnet_lite0,
    "efficientnet_lite1": efficientnet_lite1,
    "efficientnet_lite2": efficientnet_lite2,
}

_MODEL = "model.safetensors"
"""In a run folder, whose name stands for the model in it."""

_TIMM = "timm/"
_STRIDE = 16
"""What ``output_stride`` is for all the others, whose maps have one stride only."""


def load_backbone(
    config: BackboneConfig, stored: Mapping[str, Tensor] | None = None, *, to_train: bool = False
) -> Backbone:
    """Build a backbone and load its weights: frozen, in evaluation mode, on the CPU.

    Args:
        config: which network, which weights.
        stored: the weights under this package's names, from a model file, instead of those that
            the configuration names.
        to_train: it is going to be trained: say nothing about random weights.

    Raises:
        ConfigError: for an unknown network, one that has no such weights or output stride, or a
            weight file without a named preprocessing.
        CheckpointError: if weights are missing, damaged, not finite or of another network.
    """
    if config.name.startswith(OWN):
        message = (
            f"backbone.name: expected a network that can be built, got {config.name}, which was "
            "given in Python; give it again: detection.load(run, backbone=module), or "
            "detection.train(config, out, backbone=module)"
        )
        raise ConfigError(message)
    if config.output_stride != _STRIDE and config.name not in _STRIDED:
        message = (
            f"backbone.output_stride: expected {_STRIDE} for {config.name}, got "
            f"{config.output_stride}; only {', '.join(_STRIDED)} can have another"
        )
        raise ConfigError(message)
    if config.name.startswith(_TIMM):
        return _load_timm(config, stored, to_train=to_train)
    spec = _build(config)
    geometry = trunk_geometry(spec.trunk)
    if config.weights == "none" and stored is None and not to_train:
        logger.warning(
            "backbone %s: RANDOM weights (seed %d): good for timing and tests, not for accuracy; "
            "set backbone.weights to a file or to '%s'",
            config.name,
            config.seed,
            "torchvision" if spec.package is None else "package",
        )
    tensors, preprocessing, location = read_weights(config, spec, stored)
    spec.trunk.to_empty(device="cpu")
    initialise(spec.trunk, torch.Generator().manual_seed(config.seed))
    fc = None
    if tensors is not None:
        tensors = rename(tensors, spec, location)
        fc = build_fc(tensors, location)
    backbone = Backbone(config.name, spec, geometry, preprocessing, fc)
    if tensors is not None:
        fill(backbone, tensors, location)
    return backbone.requires_grad_(requires_grad=False).eval()


def _build(config: BackboneConfig) -> BackboneSpec:
    """Return the network by its name."""
    if config.name not in BACKBONES:
        known = ", ".join([*BACKBONES, f"{_TIMM}<model>"])
        message = f"backbone.name: expected one of {known}, got {config.name!r}"
        raise ConfigError(message)
    if config.name in _STRIDED:
        return _STRIDED[config.name](config.output_stride)
    return BACKBONES[config.name]()


def _load_timm(
    config: BackboneConfig, stored: Mapping[str, Tensor] | None, *, to_train: bool
) -> Backbone:
    """Let timm build the network; fill in weights that are under this package's names."""
    location = config.weights if stored is None else "the model file"
    if stored is None and config.weights.endswith(".safetensors"):
        tensors, _ = load_tensors(Path(config.weights))
        stored = {k: t for k, t in tensors.items() if k.startswith("trunk.")} or None
    silent = stored is not None or (to_train and config.weights == "none")
    backbone = timm_backbone(replace(config, weights="stored") if silent else config)
    if stored is not None:
        fill(backbone, stored, location)
    return backbone


def read_weights(
    config: BackboneConfig, spec: BackboneSpec, stored: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor] | None, Preprocessing, str]:
    """Return the tensors (None for random weights), their preprocessing and their location."""
    if stored is not None:
        published = config.weights in {"none", "torchvision"}
        chosen = choose_preprocessing(config, spec, {}, published=published)
        return dict(stored), chosen, "the model file"
    if config.weights == "none":
        return None, choose_preprocessing(config, spec, {}, published=True), "random weights"
    if config.weights == "torchvision":
        other = "a file" if spec.package is None else "package, a file"
        path = published_file(config.name, spec.published, other)
        return (
            read_state(path)[0],
            choose_preprocessing(config, spec, {}, published=True),
            str(path),
        )
    if config.weights == "package":
        path = package_file(config.name, spec.package)
        said = {"preprocessing": spec.preprocessing}
        return read_state(path)[0], choose_preprocessing(config, spec, said), str(path)
    path = Path(config.weights)
    path = path / _MODEL if path.is_dir() else path
    tensors, metadata = read_state(path)
    if any(name.startswith("backbone.") for name in tensors):
        return _of_detector(tensors), choose_preprocessing(config, spec, metadata), str(path)
    if metadata.get("kind") == KIND and metadata.get("backbone") != config.name:
        message = (
            f"{path}: expected the weights of {config.name}, got those of "
            f"{metadata.get('backbone')}; check backbone.name"
        )
        raise CheckpointError(message)
    return tensors, choose_preprocessing(config, spec, metadata), str(path)


def _of_detector(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the conv layers of a trained detector, and its fc6 and fc7 where it has both."""
    conv = {n.removeprefix("backbone."): t for n, t in tensors.items() if n.startswith("backbone.")}
    fc = {name: tensor for name, tensor in tensors.items() if name.startswith("fc.fc")}
    return conv | fc if "fc.fc7.weight" in fc else conv


def choose_preprocessing(
    config: BackboneConfig,
    spec: BackboneSpec,
    metadata: Mapping[str, object],
    *,
    published: bool = False,
) -> Preprocessing:
    """Return the weights' preprocessing: as configured, as in the file, or the network's own.

    Args:
        config: may name one.
        spec: may have only one.
        metadata: of the weight file.
        published: the weights are torchvision's, or random: torchvision's preprocessing then.

    Raises:
        ConfigError: if none of the three is known, or the first two differ.
    """
    name: str = config.preprocessing
    said = str(metadata.get("preprocessing"))
    if name != "auto" and said in PREPROCESSINGS and said != name:
        message = (
            f"backbone.preprocessing: expected {said}, which {config.weights} says of itself, got "
            f"{name!r}; leave the option out"
        )
        raise ConfigError(message)
    if name == "auto":
        implied = spec.preprocessing
        if implied == "auto" and published:
            implied = "torchvision"
        name = str(metadata.get("preprocessing", implied))
    if name not in PREPROCESSINGS:
        known = ", ".join(PREPROCESSINGS)
        message = (
            f"backbone.preprocessing: expected one of {known} for the weight file "
            f"{config.weights}, got {name!r}; it belongs to the weights and cannot be guessed"
        )
        raise ConfigError(message)
    return PREPROCESSINGS[name]


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Set every layer in place so that random features keep their variance (He et al. 2015).

    Not the release's N(0, 0.01), with which a frozen random network would return the same values
    everywhere.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
