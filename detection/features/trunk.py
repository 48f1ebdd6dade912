"""A backbone on its device, in its precision."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.backbones.backbone import Backbone
from detection.config import FeatureConfig
from detection.errors import ConfigError
from detection.io.device import resolve_device, resolve_dtype, use_exact_float32
from detection.structures import Image


class ConvTrunk:
    """The conv layers of a backbone, ready to run.

    In float32 the trunk is the backbone's own; in bfloat16 it is a copy, converted once. The last
    layers can be trainable: these are the backbone's own in either case, run in float32, or by
    autocast where the rest is bfloat16.

    Args:
        backbone: moved to the configured device.
        config: device and precision.
        num_trainable: of the trunk's last modules that have weights (a conv layer, or a block of
            them); -1 for all. Batch normalisation stays as it is.

    Attributes:
        device: where it runs.
        dtype: the precision of its layers.
        trunk: image -> conv5.
        trainable: the last layers, with gradients; empty where none is trained.

    Raises:
        ConfigError: if there are not so many layers.
    """

    def __init__(self, backbone: Backbone, config: FeatureConfig, num_trainable: int = 0) -> None:
        self.device = resolve_device(config.device)
        self.dtype = resolve_dtype(config.dtype, self.device)
        use_exact_float32()
        backbone.to(self.device)
        trunk = backbone.trunk
        if self.dtype != torch.float32:
            trunk = copy.deepcopy(trunk).to(self.dtype)
        self.trunk = trunk.to(memory_format=torch.channels_last)
        self._backbone = backbone
        own = _modules(backbone.trunk)
        cut = _cut(own, num_trainable, backbone.name)
        self._frozen = nn.Sequential(*_modules(self.trunk)[:cut])
        self.trainable = nn.Sequential(*own[cut:])
        _require_gradients(self.trainable)

    def upload(self, image: Image) -> Float[Tensor, "3 h w"]:
        """Return the pixels, 0..255, on the device."""
        return image.pixels.to(self.device).permute(2, 0, 1).float()

    def normalise(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Return the inputs as the weights expect them."""
        return self._backbone.preprocessing.apply(pixels)

    def conv(self, inputs: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c rows columns"]:
        """Compute conv5, with gradients where layers are trainable."""
        return self.run_trainable(self.run_frozen(inputs))

    def run_frozen(self, inputs: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n b y x"]:
        """Compute what the first trainable layer reads; conv5 where none is trainable."""
        with torch.no_grad():
            inputs = inputs.to(self.dtype, memory_format=torch.channels_last)
            values: Tensor = self._frozen(inputs)
            return values

    def run_trainable(self, values: Float[Tensor, "n b y x"]) -> Float[Tensor, "n c rows columns"]:
        """Compute conv5 from what the first trainable layer reads, with gradients."""
        if not len(self.trainable):
            return values
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=mixed):
            values = values.to(torch.float32 if not mixed else self.dtype)
            conv5: Tensor = self.trainable(values.contiguous(memory_format=torch.channels_last))
            return conv5

    def pretrained_fc(self, feature_dim: int) -> nn.Module | None:
        """Return the backbone's fc6 and fc7 if they read vectors of this length."""
        fc = self._backbone.fc
        if fc is None or fc.get_submodule("fc6").in_features != feature_dim:
            return None
        return fc


def _modules(trunk: nn.Module) -> list[nn.Module]:
    """Return the trunk's sequential modules; a trunk of another kind is one module."""
    return list(trunk.children()) if isinstance(trunk, nn.Sequential) else [trunk]


def _cut(modules: list[nn.Module], num_trainable: int, name: str) -> int:
    """Return the index of the first module to train."""
    weighted = [i for i, m in enumerate(modules) if any(True for _ in m.parameters())]
    count = len(weighted) if num_trainable < 0 else num_trainable
    if count > len(weighted):
        message = f"finetune.open_layers: expected at most {len(weighted)} for {name}, got {count}"
        raise ConfigError(message)
    return weighted[-count] if count else len(modules)


def _require_gradients(layers: nn.Module) -> None:
    """Make parameters trainable, those of batch normalisation apart."""
    for module in layers.modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_()
