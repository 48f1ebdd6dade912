"""Depthwise convolutions whose gradients are as fast as their results, on a CPU.

oneDNN computes the gradients of a dilated depthwise convolution tens of times slower than the
convolution itself. The gradient of its input is a convolution with the flipped kernel, which oneDNN
is fast at; that of its weights is a compiled loop.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from detection.io.device import is_host
from detection.kernels import depthwise
from detection.kernels.jit import NUMBA_AVAILABLE
from detection.kernels.threads import in_threads

_DTYPES = {torch.float32, torch.bfloat16}


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution of stride 1, with fast gradients where the compiled loop can run.

    Law: the results of ``nn.Conv2d`` bit for bit, also under autocast, and its gradients but for
    rounding: those of the weights are sums in float32, whatever the dtype of the values.
    """

    def forward(self, input: Float[Tensor, "..."]) -> Float[Tensor, "..."]:  # noqa: A002
        """Convolve; the name of the argument is that of ``nn.Conv2d``."""
        given = (input, self.weight) if self.bias is None else (input, self.weight, self.bias)
        if not _takes_loop(given):
            # not super(): NormalisingConv2d, which is no DepthwiseConv2d, runs this method too
            return nn.Conv2d.forward(self, input)
        dtype = dtype_in_use(input)
        result: Tensor = _Convolution.apply(
            input.to(dtype), self.weight, self.bias, int(self.padding[0]), self.dilation[0]
        )
        return result


def with_fast_depthwise(module: nn.Module) -> nn.Module:
    """Return the network with fast gradients of its depthwise convolutions; it shares all tensors.

    Every plain ``nn.Conv2d`` of stride 1 with one square kernel a channel, padded equally on all
    sides with zeros, becomes a ``DepthwiseConv2d``; other modules are copied without their tensors.
    The names of parameters and buffers stay. ``module`` itself does not change.
    """
    return _copied(module, {})


def _copied(module: nn.Module, copies: dict[nn.Module, nn.Module]) -> nn.Module:
    """Copy the tree of modules, each module once wherever it appears."""
    if module not in copies:
        # The dictionaries of parameters and buffers are shared: a tensor that replaces another in
        # one of the networks does so in both.
        copies[module] = twin = _fast(module) if _is_depthwise(module) else copy.copy(module)
        twin._modules = {
            name: None if child is None else _copied(child, copies)
            for name, child in module._modules.items()
        }
    return copies[module]


def _fast(convolution: nn.Module) -> DepthwiseConv2d:
    fast = DepthwiseConv2d.__new__(DepthwiseConv2d)
    fast.__dict__.update(convolution.__dict__)
    return fast


def _is_depthwise(module: nn.Module) -> bool:
    """Return whether the fast form has the same meaning; subclasses may mean something else."""
    if type(module) is not nn.Conv2d or isinstance(module.padding, str):
        return False
    side, reach = module.kernel_size[0], module.dilation[0] * (module.kernel_size[0] - 1)
    return (
        module.groups == module.in_channels == module.out_channels > 1
        and module.stride == (1, 1)
        and module.kernel_size == (side, side)
        and module.dilation[0] == module.dilation[1]
        and module.padding[0] == module.padding[1] <= reach
        and module.padding_mode == "zeros"
    )


def _takes_loop(given: Sequence[Tensor]) -> bool:
    """Return whether input, weight and bias want a gradient that the compiled loop computes."""
    x = given[0]
    return (
        NUMBA_AVAILABLE
        and torch.is_grad_enabled()
        and any(tensor.requires_grad for tensor in given)
        and all(is_host(tensor.device) for tensor in given)
        and x.dim() == 4
        and dtype_in_use(x) in _DTYPES
        and all(dtype_in_use(tensor) == dtype_in_use(x) for tensor in given)
        and not torch.compiler.is_compiling()
    )


def dtype_in_use(tensor: Tensor) -> torch.dtype:
    """Return the dtype that a convolution reads a tensor in; autocast leaves float64 alone."""
    if torch.is_autocast_enabled("cpu") and tensor.dtype != torch.float64:
        return torch.get_autocast_dtype("cpu")
    return tensor.dtype


class _Convolution(torch.autograd.Function):
    """The convolution as one operation; parameters stay in their own dtype until it runs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int
    ) -> Tensor:
        """Convolve, in the dtype of the input."""
        used = weight.to(x.dtype)
        ctx.save_for_backward(x, used)
        ctx.rest = padding, dilation, weight.dtype, None if bias is None else bias.dtype
        bias = None if bias is None else bias.to(x.dtype)
        return functional.conv2d(x, used, bias, 1, padding, dilation, len(weight))

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """Return the gradients that are wanted, each in the dtype of what it belongs to."""
        x, weight = ctx.saved_tensors
        padding, dilation, weight_dtype, bias_dtype = ctx.rest
        of_input, of_weight, of_bias = ctx.needs_input_grad[:3]
        dx = dw = db = None
        if of_input:
            # Autocast, where it is still on, would change the dtype of a float32 convolution.
            with torch.autocast("cpu", enabled=False):
                dx = input_gradient(gradient, weight, padding, dilation)
        if of_weight:
            side = weight.shape[-1]
            dw = weight_gradient(x, gradient, side, padding, dilation).to(weight_dtype)
        if of_bias:
            db = gradient.sum(dim=(0, 2, 3), dtype=torch.float32).to(bias_dtype)
        return dx, dw, db, None, None


def input_gradient(
    gradient: Float[Tensor, "n c h w"],
    weight: Float[Tensor, "c 1 k k"],
    padding: int,
    dilation: int,
) -> Float[Tensor, "n c y x"]:
    """Return the gradient of the input: what met a weight from the left comes back from the right.

    Args:
        gradient: of the output.
        weight: of the convolution.
        padding: of the convolution, at most as wide as its kernel reaches.
        dilation: of the convolution.
    """
    around = dilation * (weight.shape[-1] - 1) - padding
    flipped = weight.flip(2, 3)
    return functional.conv2d(gradient, flipped, None, 1, around, dilation, len(weight))


def weight_gradient(
    x: Float[Tensor, "n c y x"],
    gradient: Float[Tensor, "n c h w"],
    side: int,
    padding: int,
    dilation: int,
) -> Float[Tensor, "c 1 k k"]:
    """Return the gradient of the weights, float32, the same on any number of threads.

    Args:
        x: input, float32 or bfloat16.
        gradient: of the output, in the same dtype.
        side: of the kernel.
        padding: of the convolution.
        dilation: of the convolution.
    """
    images, channels = x.shape[:2]
    cells, spread = _cells(x), _cells(gradient)
    out = np.empty((images, side * side, channels), np.float32)
    shape = (side, dilation, padding)
    blocks = -(-channels // depthwise.BLOCK)
    # Each image has sums of its own, added up afterwards in their order: which thread computed them
    # makes no difference.
    in_threads(
        lambda begin, end: depthwise.weight_gradient(cells, spread, shape, begin, end, out),
        images * blocks,
    )
    total = torch.from_numpy(out).sum(dim=0)
    return total.T.reshape(channels, 1, side, side)


def _cells(values: Float[Tensor, "n c h w"]) -> NDArray[Any]:
    """Read maps channels last; of bfloat16 the bits, as NumPy has no such numbers."""
    cells = values.detach().permute(0, 2, 3, 1).contiguous()
    return cells.view(torch.uint16).numpy() if cells.dtype == torch.bfloat16 else cells.numpy()
