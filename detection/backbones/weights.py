"""From a name and a weight file to a backbone that is ready to use."""

from __future__ import annotations

import logging
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from detection.backbones.backbone import PREPROCESSINGS, Backbone, Blueprint, Preprocessing
from detection.backbones.geometry import trunk_geometry
from detection.backbones.published import alexnet, resnet18_c4, resnet50_c4, squeezenet, vgg16
from detection.backbones.timm_trunk import timm_backbone
from detection.backbones.zf5 import zf5
from detection.config import BackboneConfig
from detection.errors import CheckpointError, ConfigError
from detection.runs.files import sha256_of_file
from detection.runs.tensors import load_tensors

logger = logging.getLogger(__name__)

BACKBONES: dict[str, Callable[[], Blueprint]] = {
    "zf5": zf5,
    "alexnet": alexnet,
    "vgg16": vgg16,
    "squeezenet": squeezenet,
    "resnet18_c4": resnet18_c4,
    "resnet50_c4": resnet50_c4,
}

_DROPOUT = 0.5
_TIMM = "timm/"
_CLASSIFIER = "fc8."
"""The last layer in the files of this package's classifiers; a backbone ends before it."""


def load_backbone(
    config: BackboneConfig, stored: Mapping[str, Tensor] | None = None, *, to_train: bool = False
) -> Backbone:
    """Build a backbone and give it its weights: frozen, in evaluation mode, on the CPU.

    Args:
        config: which network, which weights.
        stored: the weights under this package's names, from a model file, instead of those that
            the configuration names.
        to_train: it is going to be trained: say nothing about random weights.

    Raises:
        ConfigError: for an unknown network, or a weight file without a named preprocessing.
        CheckpointError: if weights are missing, damaged, not finite or of another network.
    """
    if config.name.startswith(_TIMM):
        return _load_timm(config, stored, to_train=to_train)
    if config.name not in BACKBONES:
        known = ", ".join([*BACKBONES, f"{_TIMM}<model>"])
        message = f"backbone.name: expected one of {known}, got {config.name!r}"
        raise ConfigError(message)
    blueprint = BACKBONES[config.name]()
    geometry = trunk_geometry(blueprint.trunk)
    if config.weights == "none" and stored is None and not to_train:
        logger.warning(
            "backbone %s: RANDOM weights (seed %d): good for timing and tests, not for accuracy; "
            "set backbone.weights to a file or to 'torchvision'",
            config.name,
            config.seed,
        )
    tensors, preprocessing, place = read_weights(config, blueprint, stored)
    blueprint.trunk.to_empty(device="cpu")
    initialise(blueprint.trunk, torch.Generator().manual_seed(config.seed))
    fc = None
    if tensors is not None:
        tensors = rename(tensors, blueprint, place)
        fc = build_fc(tensors, place)
    backbone = Backbone(config.name, blueprint, geometry, preprocessing, fc)
    if tensors is not None:
        fill(backbone, tensors, place)
    return backbone.requires_grad_(requires_grad=False).eval()


def _load_timm(
    config: BackboneConfig, stored: Mapping[str, Tensor] | None, *, to_train: bool
) -> Backbone:
    """Let timm build the network; fill in weights that are under this package's names."""
    place = config.weights if stored is None else "the model file"
    if stored is None and config.weights.endswith(".safetensors"):
        tensors, _ = load_tensors(Path(config.weights))
        stored = {k: t for k, t in tensors.items() if k.startswith("trunk.")} or None
    silent = stored is not None or (to_train and config.weights == "none")
    backbone = timm_backbone(replace(config, weights="stored") if silent else config)
    if stored is not None:
        fill(backbone, stored, place)
    return backbone


def read_weights(
    config: BackboneConfig, blueprint: Blueprint, stored: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor] | None, Preprocessing, str]:
    """Give the published or stored tensors (None for random), their preprocessing, their place."""
    if stored is not None:
        from_file = config.weights not in {"none", "torchvision"}
        return (
            dict(stored),
            choose_preprocessing(config, {}, random=not from_file),
            "the model file",
        )
    if config.weights == "none":
        return None, choose_preprocessing(config, {}, random=True), "random weights"
    if config.weights == "torchvision":
        path = published_file(config.name, blueprint.published)
        return read_state(path)[0], choose_preprocessing(config, {}, random=True), str(path)
    path = Path(config.weights)
    tensors, metadata = read_state(path)
    return tensors, choose_preprocessing(config, metadata, random=False), str(path)


def choose_preprocessing(
    config: BackboneConfig, metadata: Mapping[str, object], *, random: bool
) -> Preprocessing:
    """Give what the weights expect: as configured, as the file says, or as the network implies.

    Raises:
        ConfigError: if none of the three is known.
    """
    name: str = config.preprocessing
    if name == "auto":
        implied = "torchvision" if random else "auto"
        implied = "constant128" if config.name == "zf5" else implied
        name = str(metadata.get("preprocessing", implied))
    if name not in PREPROCESSINGS:
        known = ", ".join(PREPROCESSINGS)
        message = (
            f"backbone.preprocessing: expected one of {known} for the weight file "
            f"{config.weights}, got {name!r}; it belongs to the weights and cannot be guessed"
        )
        raise ConfigError(message)
    return PREPROCESSINGS[name]


def published_file(name: str, published: str | None) -> Path:
    """Give the checked file of torchvision's weights, downloading it where it is missing.

    Raises:
        ConfigError: if torchvision publishes none for this network.
        CheckpointError: if the download fails or the file's hash is not the one in its name.
    """
    if published is None:
        message = (
            f"backbone.weights: expected a file or none for {name}, got 'torchvision'; "
            "torchvision publishes no such network"
        )
        raise ConfigError(message)
    from torchvision import models

    url = models.get_model_weights(published)["IMAGENET1K_V1"].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.exists():
        download(url, path)
    expected = path.stem.rsplit("-", 1)[-1]
    actual = sha256_of_file(path)
    if not actual.startswith(expected):
        message = (
            f"{path}: expected a SHA-256 that starts with {expected}, got {actual[:16]}...; "
            "remove the file to download it again"
        )
        raise CheckpointError(message)
    return path


def download(url: str, path: Path) -> None:
    """Fetch a weight file.

    Raises:
        CheckpointError: where there is no network or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except OSError as error:
        message = (
            f"{path.name}: cannot be downloaded from {url} ({error}); put the file into "
            f"{path.parent}, or set backbone.weights to a file or to 'none'"
        )
        raise CheckpointError(message) from error


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read a .safetensors file or a state dict, without ever running code: (tensors, metadata).

    Raises:
        CheckpointError: if the file is missing, damaged, executable or not a state dict.
    """
    if path.suffix == ".safetensors":
        return load_tensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = (
            f"{path}: expected a state dict of tensors, got a file that is damaged or that would "
            "run code when it is read; save model.state_dict() or a .safetensors file"
        )
        raise CheckpointError(message) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        message = f"{path}: expected a state dict, got a missing or truncated file: {reason}"
        raise CheckpointError(message) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        message = f"{path}: expected a state dict of tensors, got {type(state).__name__}"
        raise CheckpointError(message)
    return {str(key): tensor for key, tensor in state.items()}, {}


def rename(tensors: Mapping[str, Tensor], blueprint: Blueprint, place: str) -> dict[str, Tensor]:
    """Give the tensors under our names, without those of the layers behind the trunk.

    Raises:
        CheckpointError: for a key that belongs to another network, and for values not finite.
    """
    renamed: dict[str, Tensor] = {}
    foreign: list[str] = []
    for key, tensor in tensors.items():
        if key.startswith(("trunk.", "fc.fc")):
            renamed[key] = tensor
            continue
        pair = next((pair for pair in blueprint.renames if key.startswith(pair[0])), None)
        if pair is not None:
            renamed[pair[1] + key[len(pair[0]) :]] = tensor
        elif not key.startswith((*blueprint.unused, _CLASSIFIER)):
            foreign.append(key)
    if foreign:
        message = (
            f"{place}: expected the keys of this backbone, got {_shorten(foreign)}; check "
            "backbone.name"
        )
        raise CheckpointError(message)
    broken = [key for key, tensor in renamed.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        message = f"{place}: expected finite weights, got NaN or infinity in {_shorten(broken)}"
        raise CheckpointError(message)
    return {key: _to_float(tensor) for key, tensor in renamed.items()}


def build_fc(tensors: Mapping[str, Tensor], place: str) -> nn.Module | None:
    """Give empty fc6 and fc7 (ReLU, dropout 0.5) as wide as the tensors; None without tensors.

    Raises:
        CheckpointError: if one of the two is missing or they do not fit together.
    """
    fc6, fc7 = tensors.get("fc.fc6.weight"), tensors.get("fc.fc7.weight")
    if fc6 is None and fc7 is None:
        return None
    if fc6 is None or fc7 is None or fc6.ndim != 2 or fc7.ndim != 2 or len(fc6) != fc7.shape[1]:
        shapes = [None if t is None else tuple(t.shape) for t in (fc6, fc7)]
        message = f"{place}: expected fc6 and fc7 that fit together, got shapes {shapes}"
        raise CheckpointError(message)
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            fc6=nn.Linear(fc6.shape[1], fc6.shape[0], device="meta").to_empty(device="cpu"),
            relu6=nn.ReLU(inplace=True),
            drop6=nn.Dropout(_DROPOUT),
            fc7=nn.Linear(fc7.shape[1], fc7.shape[0], device="meta").to_empty(device="cpu"),
            relu7=nn.ReLU(inplace=True),
            drop7=nn.Dropout(_DROPOUT),
        )
    )


def fill(backbone: Backbone, tensors: Mapping[str, Tensor], place: str) -> None:
    """Copy tensors into a backbone.

    Raises:
        CheckpointError: listing the keys that are missing or too many and the shapes that differ.
    """
    own = backbone.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - tensors.keys() - counters)
    extra = sorted(tensors.keys() - own.keys())
    shapes = [
        f"{key}: {tuple(own[key].shape)} in the network, {tuple(tensors[key].shape)} in the file"
        for key in own.keys() & tensors.keys()
        if own[key].shape != tensors[key].shape
    ]
    problems = [
        f"{kind} {_shorten(keys)}"
        for kind, keys in (("missing", missing), ("unknown", extra), ("shapes", sorted(shapes)))
        if keys
    ]
    if problems:
        message = (
            f"{place}: expected the weights of {backbone.name}, got {'; '.join(problems)}; check "
            "backbone.name"
        )
        raise CheckpointError(message)
    backbone.load_state_dict(dict(tensors), strict=False)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Set every layer in place so that random features keep their variance (He et al. 2015).

    Not the release's N(0, 0.01), with which a frozen random network would give the same values
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


def _to_float(tensor: Tensor) -> Tensor:
    """Store half-precision weights as float32; leave counters alone."""
    return tensor.float() if tensor.is_floating_point() else tensor


def _shorten(names: list[str], most: int = 5) -> str:
    """List a few names and count the rest."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
