"""Pyramid pooling with a gradient on the CPU: the kernels remember where each maximum lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from detection.kernels import pyramid as kernels
from detection.kernels.threads import in_threads

_NARROW = 2**16
"""Cells that 16 bits can count."""


def pool_and_remember(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    plan: NDArray[np.int64],
    pieces: NDArray[np.int64],
    bin_major: bool,
) -> Float[Tensor, "r d"]:
    """Pool each window; a gradient goes to the first cell, row by row, that is a bin's maximum.

    Sums are in float32, in the order of the windows: they do not depend on the number of threads.

    Args:
        values: a feature map, float32 or bfloat16, in the CPU's memory.
        windows: half-open ranges of cells x1 y1 x2 y2, inside the map.
        plan: of ``kernels.pyramid.pool_windows``.
        pieces: likewise.
        bin_major: likewise.
    """
    pooled: Tensor = _Pooling.apply(values, windows, plan, pieces, bin_major)
    return pooled


class _Pooling(torch.autograd.Function):
    """The kernels as one operation."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        windows: Tensor,
        plan: NDArray[np.int64],
        pieces: NDArray[np.int64],
        bin_major: bool,
    ) -> Tensor:
        """Pool."""
        keys = _keys(values)
        ranges = np.ascontiguousarray(windows.cpu().numpy())
        channels = keys.shape[2]
        out = np.empty((len(ranges), channels * int(pieces[:, 1].sum())), np.int32)
        bins = int((plan[:, 0] ** 2).sum())  # a level that is asked for twice counts once
        places = torch.empty(len(ranges), bins, channels, dtype=torch.int32)
        results = out, places.numpy()

        def pool(begin: int, end: int) -> None:
            kernels.pool_keys(keys, ranges, plan, pieces, begin, end, bin_major, results)

        in_threads(pool, len(ranges))
        ctx.save_for_backward(places)
        ctx.rest = values.shape, values.dtype, pieces, bin_major
        return torch.from_numpy(out).view(torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Spread the gradient over the map."""
        (places,) = ctx.saved_tensors
        shape, dtype, pieces, bin_major = ctx.rest
        channels, rows, columns = shape
        spread = torch.empty(rows, columns, channels)
        rows_of, where = gradient.float().contiguous().numpy(), places.numpy()
        out = spread.view(rows * columns, channels).numpy()

        def work(begin: int, end: int) -> None:
            kernels.spread_gradient(rows_of, where, pieces, bin_major, begin, end, out)

        # Threads divide the channels: no two of them add to the same cell.
        in_threads(work, channels, kernels.SPREAD)
        return spread.permute(2, 0, 1).to(dtype), None, None, None, None


def _keys(values: Float[Tensor, "c h w"]) -> NDArray[Any]:
    """Return for each cell and channel the key by which the kernels choose: (rows, columns, c)."""
    channels, rows, columns = values.shape
    if rows * columns > _NARROW:
        values = values.float()
    narrow = values.dtype == torch.bfloat16
    cells = values.detach().permute(1, 2, 0).contiguous().view(rows * columns, channels)
    bits = cells.view(torch.int16 if narrow else torch.int32).numpy()
    keys = np.empty(bits.shape, np.int32 if narrow else np.int64)
    in_threads(lambda begin, end: kernels.make_keys(bits, begin, end, keys), len(bits))
    return keys.reshape(rows, columns, channels)
