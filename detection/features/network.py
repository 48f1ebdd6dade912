"""A backbone on its device, in its precision."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.backbones.backbone import Backbone
from detection.config import FeatureConfig
from detection.errors import ConfigError
from detection.runs.device import resolve_device, resolve_dtype, use_exact_float32
from detection.structures import Image


class Network:
    """The conv layers of a backbone, ready to run.

    In float32 the trunk is the backbone's own; in bfloat16 it is a copy, converted once. Training
    opens the last layers: from then on these are the backbone's own in either case, run in float32,
    or by autocast where the rest is bfloat16.

    Attributes:
        device: where it runs.
        dtype: the precision of its layers.
        trunk: image -> conv5.
    """

    def __init__(self, backbone: Backbone, config: FeatureConfig) -> None:
        self.device = resolve_device(config.device)
        self.dtype = resolve_dtype(config.dtype, self.device)
        use_exact_float32()
        backbone.to(self.device)
        trunk = backbone.trunk
        if self.dtype != torch.float32:
            trunk = copy.deepcopy(trunk).to(self.dtype)
        self.trunk = trunk.to(memory_format=torch.channels_last)
        self._backbone = backbone
        self._open: nn.Sequential | None = None
        self._frozen: nn.Module = self.trunk

    def upload(self, image: Image) -> Float[Tensor, "3 h w"]:
        """Give the pixels 0..255 on the device."""
        return image.pixels.to(self.device).permute(2, 0, 1).float()

    def normalise(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Give what the weights expect."""
        return self._backbone.preprocessing.apply(pixels)

    def conv(self, inputs: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c rows columns"]:
        """Give conv5, with gradients where layers are open."""
        return self.above(self.below(inputs))

    def below(self, inputs: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n b y x"]:
        """Give what the first open layer reads; conv5 where none is open."""
        with torch.no_grad():
            inputs = inputs.to(self.dtype, memory_format=torch.channels_last)
            values: Tensor = self._frozen(inputs)
            return values

    def above(self, values: Float[Tensor, "n b y x"]) -> Float[Tensor, "n c rows columns"]:
        """Give conv5 of what the first open layer reads, with gradients."""
        if self._open is None:
            return values
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=mixed):
            values = values.to(torch.float32 if not mixed else self.dtype)
            conv5: Tensor = self._open(values.contiguous(memory_format=torch.channels_last))
            return conv5

    def open_layers(self, count: int) -> nn.Sequential:
        """Give the last layers of the trunk, to be trained; batch normalisation stays as it is.

        Args:
            count: of the trunk's modules that have weights (a conv layer, or a block of them);
                -1 for all.

        Raises:
            ConfigError: if there are not so many, or the trunk is no sequence of modules.
        """
        own = _modules(self._backbone.trunk)
        weighted = [i for i, m in enumerate(own) if any(True for _ in m.parameters())]
        count = len(weighted) if count < 0 else count
        if count > len(weighted):
            message = (
                f"finetune.open_layers: expected at most {len(weighted)} for "
                f"{self._backbone.name}, got {count}"
            )
            raise ConfigError(message)
        cut = weighted[-count] if count else len(own)
        self._frozen = nn.Sequential(*_modules(self.trunk)[:cut])
        self._open = nn.Sequential(*own[cut:]) if count else None
        opened = self._open or nn.Sequential()
        for module in opened.modules():
            if not isinstance(module, nn.modules.batchnorm._BatchNorm):
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_()
        return opened

    def fitting_fc(self, feature_dim: int) -> nn.Module | None:
        """Give the backbone's fc6 and fc7 if they take vectors of this length."""
        fc = self._backbone.fc
        if fc is None or fc.get_submodule("fc6").in_features != feature_dim:
            return None
        return fc


def _modules(trunk: nn.Module) -> list[nn.Module]:
    """Give the modules that run one after the other; a trunk of another kind is one module."""
    return list(trunk.children()) if isinstance(trunk, nn.Sequential) else [trunk]
