"""ZF-5's ReLU, normalisation and pooling as one compiled pass, where nothing is trained."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.backbones.zf5 import WithinChannelNorm
from detection.io.device import is_host
from detection.kernels import channel_norm
from detection.kernels.jit import NUMBA_AVAILABLE
from detection.kernels.threads import in_threads

_BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}


class NormalisedPool(nn.Module):
    """ReLU, `WithinChannelNorm` and max-pooling over 3 x 3 of each two pixels, to the last pixel.

    Law: the results of the three modules but for rounding. Where no compiled loop can run, they do.

    Args:
        relu: the first.
        norm: the second.
        pool: the third.
    """

    def __init__(self, relu: nn.Module, norm: WithinChannelNorm, pool: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(relu, norm, pool)
        self.alpha = norm.alpha

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c p q"]:
        """Return the pooled map, channels last."""
        if not _takes_loop(x):
            result: Tensor = self.parts(x)
            return result
        count, channels, height, width = x.shape
        out = torch.empty((count, height // 2, width // 2, channels), dtype=x.dtype)
        source = _bits(x.permute(0, 2, 3, 1).contiguous().view(count * height, -1))
        target = _bits(out.view(count * (height // 2), -1))
        factor = self.alpha / 9

        def rows(begin: int, end: int) -> None:
            channel_norm.pool_rows(source, channels, height, factor, begin, end, target)

        in_threads(rows, len(target))
        return out.permute(0, 3, 1, 2)


def with_fused_norm(layers: nn.Sequential, kept: Collection[int] = ()) -> nn.Sequential:
    """Return the layers with every ReLU, `WithinChannelNorm` and pooling in a row as one module.

    It stands in the place of the pooling; the other two are identities, so that places stay.

    Args:
        layers: a trunk or its first layers; they stay as they are.
        kept: places of modules whose results are needed.
    """
    modules = list(layers.children())
    for place in range(len(modules) - 2):
        relu, norm, pool = modules[place : place + 3]
        if not (isinstance(relu, nn.ReLU) and isinstance(norm, WithinChannelNorm)):
            continue
        if _fits(pool) and not {place, place + 1} & set(kept):
            fused = NormalisedPool(relu, norm, pool)
            modules[place : place + 3] = [nn.Identity(), nn.Identity(), fused]
    fused_any = any(isinstance(module, NormalisedPool) for module in modules)
    return nn.Sequential(*modules) if fused_any else layers


def _fits(pool: nn.Module) -> bool:
    """Return whether the compiled loop pools like this module."""
    if type(pool) is not nn.MaxPool2d or not pool.ceil_mode or pool.return_indices:
        return False
    wanted = ((3, 3), (2, 2), (0, 0), (1, 1))
    given = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    return all(value in {pair, pair[0]} for value, pair in zip(given, wanted, strict=True))


def _takes_loop(x: Tensor) -> bool:
    return (
        NUMBA_AVAILABLE
        and is_host(x.device)
        and x.dtype in _BITS
        and min(x.shape[2:]) >= 3
        and not (x.requires_grad and torch.is_grad_enabled())
        and not torch.compiler.is_compiling()
    )


def _bits(values: Tensor) -> np.ndarray:
    """Return the bits of numbers, without sign."""
    bits = values.view(_BITS[values.dtype]).numpy()
    return bits.view(np.uint32 if bits.itemsize == 4 else np.uint16)
