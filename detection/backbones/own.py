"""A network of one's own as a backbone: any module that turns an image into a map."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from detection.backbones.backbone import PREPROCESSINGS, Backbone, BackboneSpec, Preprocessing
from detection.backbones.geometry import evaluating, trunk_geometry
from detection.backbones.state_dict import fill
from detection.config import BackboneConfig
from detection.errors import ConfigError
from detection.structures import ConvGeometry

OWN = "own/"
"""Begins the names of backbones that no configuration can build."""

GIVEN = "given"
"""What ``backbone.weights`` says of their weights."""

_MIN_CELLS = 4
_PROBE = 8


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Trunk:
    """A network with what cannot be read off its layers.

    Attributes:
        module: normalised images (n, 3, h, w) of any size -> a map (n, c, rows, columns).
        geometry: stride and offset of its map; None follows its conv and pool layers.
        preprocessing: what its weights expect; None takes ``backbone.preprocessing``, where
            ``auto`` is that of torchvision's weights.
        crop_size: side of the crops that R-CNN feeds.
        grid: side of R-CNN's pool5.
        min_size: shortest side of an input that still has a cell in the map; 0 is four cells.
    """

    module: nn.Module
    geometry: ConvGeometry | None = None
    preprocessing: Preprocessing | None = None
    crop_size: int = 224
    grid: int = 7
    min_size: int = 0


def own_config(config: BackboneConfig, given: nn.Module | Trunk) -> BackboneConfig:
    """Return the settings that a run folder records of a network of one's own."""
    name = type(as_trunk(given).module).__name__
    return replace(config, name=f"{OWN}{name}", weights=GIVEN, output_stride=16)


def as_trunk(given: nn.Module | Trunk) -> Trunk:
    """Return a module with what is known of it; a backbone of this package knows everything."""
    if isinstance(given, Trunk):
        return given
    if isinstance(given, Backbone):
        return Trunk(
            module=given.trunk,
            geometry=given.geometry,
            preprocessing=given.preprocessing,
            crop_size=given.crop_size,
            grid=given.grid,
            min_size=given.min_size,
        )
    return Trunk(module=given)


def own_backbone(
    given: nn.Module | Trunk, config: BackboneConfig, stored: Mapping[str, Tensor] | None = None
) -> Backbone:
    """Return a copy of a network as a backbone: frozen, in evaluation mode, float32, on the CPU.

    The given module stays as it is.

    Args:
        given: the network.
        config: its name, and the preprocessing where the network brings none.
        stored: weights to fill in, under this package's names.

    Raises:
        ConfigError: if the network has no weights, does not return a map, or one whose cells do not
            lie where its layers say.
        CheckpointError: if the stored weights are of another network.
    """
    trunk = as_trunk(given)
    module = copy.deepcopy(trunk.module).cpu().float().requires_grad_(requires_grad=False).eval()
    _require_weights(config.name, module)
    side = trunk.crop_size
    channels = _map_shape(config.name, module, side, side)[1]
    geometry = trunk.geometry or trunk_geometry(module, size=side)
    min_size = trunk.min_size or _MIN_CELLS * geometry.stride
    _require_stride(config.name, module, side, geometry.stride)
    _map_shape(config.name, module, min_size, min_size)
    name = "torchvision" if config.preprocessing == "auto" else config.preprocessing
    spec = BackboneSpec(
        trunk=module,
        channels=channels,
        crop_size=trunk.crop_size,
        grid=trunk.grid,
        last_pool=nn.AdaptiveMaxPool2d(trunk.grid),
        min_size=min_size,
        renames=(),
    )
    preprocessing = trunk.preprocessing or PREPROCESSINGS[name]
    backbone = Backbone(config.name, spec, geometry, preprocessing)
    if stored is not None:
        fill(backbone, stored, "the model file")
    return backbone.requires_grad_(requires_grad=False).eval()


def describe_own(backbone: Backbone) -> dict[str, Any]:
    """Return what a model file says of a network of one's own, to be compared when it is loaded."""
    preprocessing = asdict(backbone.preprocessing)
    return {
        "channels": backbone.channels,
        "stride": backbone.geometry.stride,
        "offset": float(backbone.geometry.offset),
        "crop_size": backbone.crop_size,
        "grid": backbone.grid,
        "min_size": backbone.min_size,
        "order": preprocessing["order"],
        "scale": float(preprocessing["scale"]),
        "mean": [float(value) for value in preprocessing["mean"]],
        "std": [float(value) for value in preprocessing["std"]],
    }


def sha256_of_weights(module: nn.Module) -> str:
    """Return a hash of every parameter and buffer."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _require_weights(name: str, module: nn.Module) -> None:
    if next(module.parameters(), None) is None:
        message = f"backbone: expected a network with weights, got {name} without any"
        raise ConfigError(message)
    broken = [key for key, t in module.state_dict().items() if not bool(torch.isfinite(t).all())]
    if broken:
        message = f"backbone: expected finite weights, got NaN or infinity in {name}: {broken[0]}"
        raise ConfigError(message)


def _map_shape(name: str, module: nn.Module, height: int, width: int) -> tuple[int, ...]:
    """Return the shape of the map of an image of this size.

    Raises:
        ConfigError: if it is none.
    """
    got: str
    try:
        with evaluating(module):
            values: object = module(torch.zeros(1, 3, height, width))
    except (AssertionError, RuntimeError, TypeError, ValueError, IndexError) as error:
        got = " ".join(str(error).split())[:200] or type(error).__name__
    else:
        if isinstance(values, Tensor):
            shape = tuple(values.shape)
            if len(shape) == 4 and shape[0] == 1 and min(shape) > 0:
                return shape
            got = f"the shape {shape}"
        else:
            got = type(values).__name__
    message = (
        f"backbone: expected a map (1, channels, rows, columns) of an image of {height} x {width} "
        f"pixels, got {got} from {name}; give a module that ends with its last conv layer"
    )
    raise ConfigError(message)


def _require_stride(name: str, module: nn.Module, side: int, stride: int) -> None:
    """Make sure that a larger image has as many more cells as the stride says.

    Raises:
        ConfigError: if it has not.
    """
    more = (_PROBE, 2 * _PROBE)
    before = _map_shape(name, module, side, side)[2:]
    sides = [side + number * stride for number in more]
    after = _map_shape(name, module, *sides)[2:]
    grown = tuple(b - a for a, b in zip(before, after, strict=True))
    if grown != more:
        message = (
            f"backbone: expected a map that grows by a cell for every {stride} pixels, as the conv "
            f"and pool layers of {name} say, got {grown[0]} x {grown[1]} cells for {more[0]} x "
            f"{more[1]} times as many; give Trunk(module=..., geometry=ConvGeometry(stride=..., "
            "offset=...))"
        )
        raise ConfigError(message)
