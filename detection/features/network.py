"""A backbone on its device, in its precision."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.backbones.backbone import Backbone
from detection.config import FeatureConfig
from detection.runs.device import resolve_device, resolve_dtype
from detection.structures import Image


class Network:
    """The conv layers of a backbone, ready to run.

    In float32 the trunk is the backbone's own, so that training it trains the backbone; in bfloat16
    it is a copy, converted once.

    Attributes:
        device: where it runs.
        dtype: the precision of its layers.
        trunk: image -> conv5.
    """

    def __init__(self, backbone: Backbone, config: FeatureConfig) -> None:
        self.device = resolve_device(config.device)
        self.dtype = resolve_dtype(config.dtype, self.device)
        backbone.to(self.device)
        trunk = backbone.trunk
        if self.dtype != torch.float32:
            trunk = copy.deepcopy(trunk).to(self.dtype)
        self.trunk = trunk.to(memory_format=torch.channels_last)
        self._backbone = backbone

    def upload(self, image: Image) -> Float[Tensor, "3 h w"]:
        """Give the pixels 0..255 on the device."""
        return image.pixels.to(self.device).permute(2, 0, 1).float()

    def normalise(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Give what the weights expect."""
        return self._backbone.preprocessing.apply(pixels)

    def conv(self, inputs: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c rows columns"]:
        """Give conv5, with gradients only where layers of the trunk are open."""
        open_layers = any(parameter.requires_grad for parameter in self.trunk.parameters())
        with torch.set_grad_enabled(open_layers and torch.is_grad_enabled()):
            inputs = inputs.to(self.dtype, memory_format=torch.channels_last)
            conv5: Tensor = self.trunk(inputs)
            return conv5

    def fitting_fc(self, feature_dim: int) -> nn.Module | None:
        """Give the backbone's fc6 and fc7 if they take vectors of this length."""
        fc = self._backbone.fc
        if fc is None or fc.get_submodule("fc6").in_features != feature_dim:
            return None
        return fc
