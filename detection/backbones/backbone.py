"""A trunk with all that the rest of the package must know about it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.backbones.weight_packages import WeightPackage
from detection.structures import ConvGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What a set of weights expects of its input; it belongs to the weights, not to the network.

    Attributes:
        order: of the colour channels.
        scale: pixel values 0..255 are divided by this first.
        mean: subtracted from each channel, in ``order``, after the division.
        std: divides each channel after the subtraction.
    """

    order: Literal["rgb", "bgr"]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def apply(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Normalise RGB pixels 0..255; a pixel equal to the mean becomes 0, the fill value."""
        ordered = pixels if self.order == "rgb" else pixels.flip(1)
        mean = torch.tensor(self.mean, dtype=pixels.dtype, device=pixels.device) * self.scale
        std = torch.tensor(self.std, dtype=pixels.dtype, device=pixels.device) * self.scale
        return (ordered - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)


PREPROCESSINGS = {
    "caffe": Preprocessing(order="bgr", scale=1.0, mean=(104.0, 117.0, 123.0)),
    "constant128": Preprocessing(order="bgr", scale=1.0, mean=(128.0, 128.0, 128.0)),
    "torchvision": Preprocessing(
        order="rgb", scale=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
    "half": Preprocessing(order="rgb", scale=255.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
}
"""By name: Caffe's published nets; SPP Appendix A (VOC); torchvision's published weights;
EfficientNet-Lite's, which see values of -1 to 1."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class BackboneSpec:
    """A network before it has weights.

    Attributes:
        trunk: image -> conv5 after its ReLU, without the last pool; parameters may be on ``meta``.
        channels: of the map.
        crop_size: side of the crops that R-CNN feeds.
        grid: side of R-CNN's pool5.
        last_pool: the map of a crop -> channels x grid x grid.
        min_size: shortest side of an input that still has a cell in the map.
        renames: prefixes of the published keys -> ours (``trunk.`` or ``fc.``).
        unused: prefixes of published keys that belong to layers behind the trunk.
        published: the name under ``torchvision.models``, if it is published there.
        package: the package that has its weights, if there is one.
        preprocessing: of all its published weights; ``auto`` where they differ.
    """

    trunk: nn.Module
    channels: int
    crop_size: int
    grid: int
    last_pool: nn.Module
    min_size: int
    renames: tuple[tuple[str, str], ...]
    unused: tuple[str, ...] = ()
    published: str | None = None
    package: WeightPackage | None = None
    preprocessing: str = "auto"


class Backbone(nn.Module):
    """The conv layers, where their cells lie, and the fc layers that came with them.

    Attributes:
        name: what the configuration calls it.
        trunk: image -> conv5 after its ReLU, without the last pool.
        geometry: stride and offset of the map.
        channels: of the map.
        crop_size: side of the crops that R-CNN feeds.
        grid: side of R-CNN's pool5.
        last_pool: the map of a crop -> channels x grid x grid.
        fc: fc6 and fc7 that came with the weights, flat pool5 -> 4096; None without.
        preprocessing: what the weights expect.
        min_size: shortest side of an input that still has a cell in the map.
    """

    def __init__(
        self,
        name: str,
        spec: BackboneSpec,
        geometry: ConvGeometry,
        preprocessing: Preprocessing,
        fc: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.trunk = spec.trunk
        self.last_pool = spec.last_pool
        self.fc = fc
        self.geometry = geometry
        self.channels = spec.channels
        self.crop_size = spec.crop_size
        self.grid = spec.grid
        self.preprocessing = preprocessing
        self.min_size = spec.min_size

    def with_own_trunk(self) -> Backbone:
        """Return the same backbone with a copy of the conv layers, to be trained."""
        other = copy.copy(self)
        other._modules = self._modules | {"trunk": copy.deepcopy(self.trunk)}
        return other

    def without_fc(self) -> Backbone:
        """Return the same conv layers without the fc layers that came with them."""
        other = copy.copy(self)
        other._modules = self._modules | {"fc": None}
        return other

    def forward(self, inputs: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c rows columns"]:
        """Return the conv5 map of normalised images."""
        conv5: Tensor = self.trunk(inputs)
        return conv5
