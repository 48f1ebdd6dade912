"""A backbone on its device, in its precision."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.backbones.backbone import Backbone
from detection.backbones.geometry import stage_channels, stage_geometries
from detection.config import FeatureConfig
from detection.errors import ConfigError
from detection.features.batch_norm import fold_batch_norm
from detection.features.conv_norm import with_norm_in_conv
from detection.features.depthwise import with_fast_depthwise
from detection.features.fused_norm import with_fused_norm
from detection.io.device import resolve_device, resolve_dtype, use_exact_float32
from detection.structures import ConvGeometry, Image


class ConvTrunk:
    """The conv layers of a backbone, ready to run: an image in, one or several maps out.

    In float32 the trunk is the backbone's own, unless it has batch normalisation: then it is a copy
    in which every normalisation is folded into the conv layer before it. In bfloat16 it is a copy,
    converted once. The last layers can be trainable: these are the backbone's own in either case,
    run in float32, or by autocast where the rest is bfloat16.

    Args:
        backbone: moved to the configured device.
        config: device, precision, and which maps.
        num_trainable: of the trunk's last modules that have weights (a conv layer, or a block of
            them); -1 for all. Batch normalisation keeps its statistics; its scale and shift are
            trained.

    Attributes:
        device: where it runs.
        dtype: the precision of its layers.
        trainable: the last layers, with gradients; empty where none is trained.
        num_frozen: how many tensors `run_frozen` returns.
        geometries: where the cells of each map lie on the input.
        channels: of each map.

    Raises:
        ConfigError: if there are not so many layers, or not such a map.
    """

    def __init__(self, backbone: Backbone, config: FeatureConfig, num_trainable: int = 0) -> None:
        self.device = resolve_device(config.device)
        self.dtype = resolve_dtype(config.dtype, self.device)
        use_exact_float32()
        backbone.to(self.device)
        self._backbone = backbone
        self._taps = taps(backbone, config.maps)
        own = trunk_modules(backbone.trunk)[: max(self._taps) + 1]
        cut = _cut(own, num_trainable, backbone.name)
        self._early = sorted(tap for tap in self._taps if tap < cut - 1)
        self.num_frozen = len(self._early) + 1
        self._frozen = with_fused_norm(_prepared(own[:cut], self.dtype), self._early)
        trainable = nn.Sequential(*own[cut:]).to(memory_format=torch.channels_last)
        self.trainable = cast(nn.Sequential, with_norm_in_conv(with_fast_depthwise(trainable)))
        _require_gradients(self.trainable)
        self.geometries, self.channels = map_layout(backbone, config.maps)

    def upload(self, image: Image) -> Float[Tensor, "3 h w"]:
        """Return the pixels, 0..255, on the device."""
        return image.pixels.to(self.device).permute(2, 0, 1).float()

    def normalise(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Return the inputs as the weights expect them."""
        return self._backbone.preprocessing.apply(pixels)

    def conv(self, inputs: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """Compute the maps, with gradients where layers are trainable."""
        return self.run_trainable(self.run_frozen(inputs))

    def run_frozen(self, inputs: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """Compute what `run_trainable` reads.

        Returns:
            The maps that lie before the last frozen layer, in the order of the layers, then what
            that layer returns: the last map where nothing is trainable.
        """
        with torch.no_grad():
            values = inputs.to(self.dtype, memory_format=torch.channels_last)
            kept = []
            for index, module in enumerate(self._frozen):
                values = module(values)
                if index in self._early:
                    kept.append(values)
            return [*kept, values]

    def run_trainable(
        self, frozen: Sequence[Float[Tensor, "n _ _ _"]]
    ) -> list[Float[Tensor, "n _ _ _"]]:
        """Compute the maps from what `run_frozen` returned, with gradients, in configured order."""
        *early, values = frozen
        maps = dict(zip(self._early, early, strict=True))
        last_frozen = len(self._frozen) - 1
        maps[last_frozen] = values
        if len(self.trainable):
            mixed = self.dtype != torch.float32
            with torch.autocast(self.device.type, dtype=self.dtype, enabled=mixed):
                values = values.to(torch.float32 if not mixed else self.dtype)
                values = values.contiguous(memory_format=torch.channels_last)
                for index, module in enumerate(self.trainable, start=last_frozen + 1):
                    values = module(values)
                    maps[index] = values
        return [maps[tap] for tap in self._taps]

    def pretrained_fc(self, feature_dim: int) -> nn.Module | None:
        """Return the backbone's fc6 and fc7 if they read vectors of this length."""
        fc = self._backbone.fc
        if fc is None or fc.get_submodule("fc6").in_features != feature_dim:
            return None
        return fc


def trunk_modules(trunk: nn.Module) -> list[nn.Module]:
    """Return the trunk's sequential modules; a trunk of another kind is one module."""
    return list(trunk.children()) if isinstance(trunk, nn.Sequential) else [trunk]


def taps(backbone: Backbone, names: Sequence[str]) -> list[int]:
    """Return the index of the module that each map comes from; the last one without names.

    Args:
        backbone: whose trunk.
        names: of its modules, as ``features.maps`` has them.

    Raises:
        ConfigError: if there is no such module.
    """
    known = [name for name, _ in backbone.trunk.named_children()]
    known = known if isinstance(backbone.trunk, nn.Sequential) else []
    unknown = [name for name in names if name not in known]
    if unknown:
        which = ", ".join(known) if known else "none: its trunk is not a sequence of modules"
        message = (
            f"features.maps: expected modules of {backbone.name} ({which}), got {unknown[0]!r}"
        )
        raise ConfigError(message)
    return [known.index(name) for name in names] or [len(trunk_modules(backbone.trunk)) - 1]


def map_layout(
    backbone: Backbone, names: Sequence[str]
) -> tuple[tuple[ConvGeometry, ...], tuple[int, ...]]:
    """Return where the cells of each map lie, and how many channels it has.

    Args:
        backbone: whose trunk.
        names: of its modules; none for the last map alone.
    """
    if not names:
        return (backbone.geometry,), (backbone.channels,)
    trunk = cast(nn.Sequential, backbone.trunk)
    geometries, channels = stage_geometries(trunk, names), stage_channels(trunk, names)
    return tuple(geometries[name] for name in names), tuple(channels[name] for name in names)


def _prepared(modules: Sequence[nn.Module], dtype: torch.dtype) -> nn.Sequential:
    """Return frozen layers in the form that is fast: folded, converted, channels last."""
    frozen = fold_batch_norm(nn.Sequential(*modules))
    if dtype != torch.float32:
        frozen = copy.deepcopy(frozen).to(dtype)
    return frozen.to(memory_format=torch.channels_last)


def _cut(modules: list[nn.Module], num_trainable: int, name: str) -> int:
    """Return the index of the first module to train."""
    weighted = [i for i, m in enumerate(modules) if any(True for _ in m.parameters())]
    count = len(weighted) if num_trainable < 0 else num_trainable
    if count > len(weighted):
        message = f"finetune.open_layers: expected at most {len(weighted)} for {name}, got {count}"
        raise ConfigError(message)
    return weighted[-count] if count else len(modules)


def _require_gradients(layers: nn.Module) -> None:
    """Make the parameters trainable."""
    for parameter in layers.parameters():
        parameter.requires_grad_()
