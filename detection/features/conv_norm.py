"""Convolution, batch normalisation with fixed statistics and ReLU as one operation, in training.

With fixed statistics a normalisation is an affine map of each channel, which the convolution before
it can do: ``gamma (W x - mean) / sqrt(var + eps) + beta`` is a convolution with other weights, and
its gradients lead to those of W, gamma and beta by the chain rule. One pass over the map remains of
three, forwards and backwards, and a convolution of one cell is a product of two matrices.
"""

from __future__ import annotations

import copy
import itertools
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from detection.backbones.efficientnet_lite import Shortcut
from detection.features.depthwise import (
    DepthwiseConv2d,
    dtype_in_use,
    input_gradient,
    weight_gradient,
)
from detection.io.device import is_host
from detection.kernels.jit import NUMBA_AVAILABLE

_IN_ORDER = (nn.Sequential.forward, Shortcut.forward)
_HIGHEST = {nn.ReLU: float("inf"), nn.ReLU6: 6.0}
Gradients = tuple[Tensor | None, ...]


class NormalisingConv2d(nn.Conv2d):
    """A convolution that also does the normalisation and the activation behind it.

    Law: the results and gradients of the three layers but for rounding. Where there is nothing to
    learn, on another device than the CPU, and in half precision, where the gradient of gamma would
    be a difference of rounded sums, the layers run one after another.
    """

    _norm: nn.BatchNorm2d
    _activation: nn.Module | None

    def forward(self, input: Float[Tensor, "..."]) -> Float[Tensor, "..."]:  # noqa: A002
        """Convolve, normalise and activate; the name of the argument is that of ``nn.Conv2d``."""
        if self._takes_one_operation(input):
            return self._at_once(input)
        layer = DepthwiseConv2d if self.groups > 1 else nn.Conv2d
        values: Tensor = nn.BatchNorm2d.forward(self._norm, layer.forward(self, input))
        return values if self._activation is None else _activate(self._activation, values)

    def _takes_one_operation(self, x: Tensor) -> bool:
        """Return whether something is learned, on the CPU, with fixed statistics."""
        learned = [x, self.weight, self._norm.weight, self._norm.bias]
        return (
            torch.is_grad_enabled()
            and not self._norm.training
            and self._norm.running_mean is not None
            and any(tensor.requires_grad for tensor in learned)
            and all(is_host(tensor.device) for tensor in learned)
            and x.dim() == 4
            and dtype_in_use(x) == torch.float32
            and self.weight.dtype == self._norm.weight.dtype == torch.float32
            and not torch.compiler.is_compiling()
        )

    def _at_once(self, x: Float[Tensor, "n c y x"]) -> Float[Tensor, "n d h w"]:
        norm = self._norm
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        fixed = _Fixed(
            mean=mean,
            spread=torch.rsqrt(variance + norm.eps),
            highest=None if self._activation is None else _HIGHEST[type(self._activation)],
            geometry=(int(self.padding[0]), self.dilation[0]) if self.groups > 1 else None,
        )
        result: Tensor = _ConvNormReLU.apply(
            x, self.weight, self.bias, norm.weight, norm.bias, fixed
        )
        return result


class _AbsorbedNorm(nn.BatchNorm2d):
    """A normalisation that the convolution before it does; its tensors stay where they are."""

    def forward(self, input: Float[Tensor, "..."]) -> Float[Tensor, "..."]:  # noqa: A002
        """Return the input."""
        return input


def with_norm_in_conv(module: nn.Module) -> nn.Module:
    """Return the network with one operation for convolution, normalisation and ReLU in a row.

    The convolutions are those of one cell and the depthwise ones of stride 1, as
    ``with_fast_depthwise`` leaves them. Modules are copied, tensors shared, names kept; ``module``
    itself does not change.
    """
    twin = copy.copy(module)
    twin._modules = {
        name: None if child is None else with_norm_in_conv(child)
        for name, child in module._modules.items()
    }
    if isinstance(twin, nn.Sequential) and type(twin).forward in _IN_ORDER:
        _fuse(twin._modules)
    return twin


def _fuse(layers: dict[str, nn.Module | None]) -> None:
    """Fuse the layers of a sequence, in place."""
    names = list(layers)
    for place, (name, following) in enumerate(itertools.pairwise(names)):
        conv, norm = layers[name], layers[following]
        if not (_can_fuse(conv) and type(norm) is nn.BatchNorm2d and norm.affine):
            continue
        last = names[place + 2] if place + 2 < len(names) else None
        activation = layers[last] if last is not None else None
        fused, absorbed = (
            NormalisingConv2d.__new__(NormalisingConv2d),
            _AbsorbedNorm.__new__(_AbsorbedNorm),
        )
        absorbed.__dict__.update(norm.__dict__)
        known = type(activation) in _HIGHEST
        # Not registered: each parameter keeps the one name that it had.
        notes = {"_norm": absorbed, "_activation": activation if known else None}
        fused.__dict__.update(cast(nn.Module, conv).__dict__, **notes)
        layers[name], layers[following] = fused, absorbed
        if known and last is not None:
            layers[last] = nn.Identity()


def _can_fuse(conv: nn.Module | None) -> bool:
    """Return whether a layer is a convolution whose gradients are computed here."""
    if type(conv) is DepthwiseConv2d:
        return NUMBA_AVAILABLE
    if type(conv) is not nn.Conv2d:
        return False
    one_cell = (conv.kernel_size, conv.stride, conv.padding) == ((1, 1), (1, 1), (0, 0))
    return one_cell and conv.groups == 1


def _activate(activation: nn.Module, values: Tensor) -> Tensor:
    result: Tensor = activation(values)
    return result


class _Fixed(NamedTuple):
    """What is not learned.

    Attributes:
        mean: of each channel before the normalisation.
        spread: 1 over the standard deviation of each channel.
        highest: bounds the result from above, zero from below; None for no activation.
        geometry: (padding, dilation) of a depthwise convolution, None for one of one cell.
    """

    mean: Tensor
    spread: Tensor
    highest: float | None
    geometry: tuple[int, int] | None


class _ConvNormReLU(torch.autograd.Function):
    """The three layers as one operation."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        fixed: _Fixed,
    ) -> Tensor:
        """Convolve with the folded weights, and cut off below and above."""
        scale = gamma * fixed.spread
        centre = fixed.mean if bias is None else fixed.mean - bias
        used = weight * scale[:, None, None, None]
        shift = beta - centre * scale
        if fixed.geometry is None:
            y = _maps(torch.addmm(shift, _rows(x), used.flatten(1).T), x)
        else:
            padding, dilation = fixed.geometry
            y = functional.conv2d(x, used, shift, 1, padding, dilation, len(used))
        if fixed.highest is not None:
            y = y.clamp_(0, fixed.highest)
        ctx.save_for_backward(x, used, weight, scale, centre, y)
        ctx.fixed = fixed
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        """Return the gradients of x, W, bias, gamma and beta, by the chain rule."""
        x, used, weight, scale, centre, y = ctx.saved_tensors
        fixed = ctx.fixed
        if fixed.highest is not None:
            gradient = torch.ops.aten.hardtanh_backward(gradient, y, 0, fixed.highest)
        # Autocast, where it is still on, would change the dtype of a product.
        with torch.autocast("cpu", enabled=False):
            rows, dx = _rows(gradient), None
            if fixed.geometry is None:
                if ctx.needs_input_grad[0]:
                    dx = _maps(rows @ used.flatten(1), x)
                dfolded = (rows.T @ _rows(x)).view_as(weight)
            else:
                if ctx.needs_input_grad[0]:
                    dx = input_gradient(gradient, used, *fixed.geometry)
                dfolded = weight_gradient(x, gradient, weight.shape[-1], *fixed.geometry)
        dbeta = rows.sum(dim=0)
        dscale = (dfolded * weight).flatten(1).sum(dim=1) - centre * dbeta
        dbias = dbeta * scale if ctx.needs_input_grad[2] else None
        dweight = dfolded * scale[:, None, None, None]
        return dx, dweight, dbias, dscale * fixed.spread, dbeta, None


def _rows(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "m c"]:
    """Return one row a cell; no copy of maps whose channels lie last."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _maps(rows: Float[Tensor, "m c"], like: Float[Tensor, "n _ h w"]) -> Float[Tensor, "n c h w"]:
    """Return rows as maps of the size of others, channels last."""
    images, _, height, width = like.shape
    return rows.view(images, height, width, rows.shape[1]).permute(0, 3, 1, 2)
