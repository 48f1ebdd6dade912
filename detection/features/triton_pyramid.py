"""Pyramid pooling on a GPU: one launch for all windows and levels, forward and backward.

Importing this module needs Triton.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import torch
import triton
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from detection.features import triton_kernels

logger = logging.getLogger(__name__)

Fallback = Callable[[Tensor, Tensor, Sequence[int], Any], Tensor]
"""Pools the same with torch's operations: map, windows, levels, layout."""

LARGEST_SIDE = 32
"""Bins of finer levels do not fit into the registers of one block of threads."""
WIDEST_SIDE = 6
"""Up to this side a thread's registers hold all bins of two channels."""

SLOTS = 64
"""Bins that a warp keeps in registers, padding included."""

_UNUSABLE: set[torch.device] = set()


@dataclass(frozen=True)
class PyramidPlan:
    """What the kernels are compiled for: see ``triton_kernels.pool_windows``."""

    sides: tuple[int, ...]
    levels: tuple[int, ...]
    sources: tuple[int, ...]
    starts: tuple[int, ...]


def make_plan(levels: Sequence[int]) -> PyramidPlan:
    """Choose the levels that are pooled from the map, and where the others are merged from.

    From the map come the levels that divide no other; each of the others is merged directly from
    the smallest of these that it divides.
    """
    sides = tuple(
        n
        for n in sorted(set(levels), reverse=True)
        if not any(m % n == 0 and m > n for m in levels)
    )
    sources = tuple(max(k for k, side in enumerate(sides) if side % n == 0) for n in levels)
    starts = tuple(sum(n * n for n in levels[:k]) for k in range(len(levels)))
    return PyramidPlan(
        sides=sides,
        levels=tuple(levels),
        sources=sources,
        starts=starts,
    )


def pool(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    levels: Sequence[int],
    layout: str,
    fallback: Fallback,
) -> Float[Tensor, "r d"]:
    """Pool each window with a Triton kernel, or with ``fallback`` where that is impossible.

    The values are the CPU's to the bit; a maximum over NaN is NaN. A gradient goes to the first
    cell, in row-major order, that is a bin's maximum. It is summed with atomic additions in
    float32: their order differs from run to run, and so do the last bits.

    A window that is empty or leaves the map has a row of NaN and no gradient: refusing it would
    wait for the device.

    Args:
        values: a feature map.
        windows: half-open ranges of cells x1 y1 x2 y2.
        levels: sides of the grids.
        layout: as in ``pyramid_pool``.
        fallback: for pyramids or maps too large for the kernel, and for a device for which it
            cannot be compiled, which is logged once.
    """
    # The kernels address the cells of the map in 32 bits.
    if max(levels, default=0) > LARGEST_SIDE or values.numel() >= 2**31:
        return fallback(values, windows, levels, layout)
    pooled: Tensor = _Pooling.apply(
        values, windows.to(values.device), tuple(levels), layout, fallback
    )
    return pooled


class _Pooling(torch.autograd.Function):
    """The kernels and their fallbacks as one operation that has a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        windows: Tensor,
        levels: tuple[int, ...],
        layout: str,
        fallback: Fallback,
    ) -> Tensor:
        """Pool."""
        ctx.save_for_backward(values, windows)
        ctx.rest = levels, layout, fallback
        return _or_else(
            values.device,
            lambda: _forward(values, windows, levels, layout),
            lambda: fallback(values, windows, levels, layout),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Spread a gradient over the map."""
        values, windows = ctx.saved_tensors
        levels, layout, fallback = ctx.rest

        def differentiate() -> Tensor:
            with torch.enable_grad():
                again = values.detach().requires_grad_()
                pooled = fallback(again, windows, levels, layout)
            spread: tuple[Tensor, ...] = torch.autograd.grad(pooled, again, gradient)
            return spread[0]

        result = _or_else(
            values.device,
            lambda: _backward(values, windows, gradient, levels, layout),
            differentiate,
        )
        return result, None, None, None, None


def _or_else(
    device: torch.device, compiled: Callable[[], Tensor], other: Callable[[], Tensor]
) -> Tensor:
    """Run the compiled function; if it fails, log it once and run the other from then on."""
    if device not in _UNUSABLE:
        try:
            return compiled()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            _UNUSABLE.add(device)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            message = "pyramid pooling on %s: expected a kernel that compiles, got %s; "
            logger.warning(
                message + "slower operations of torch give the same result", device, reason
            )
    return other()


def _forward(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    levels: tuple[int, ...],
    layout: str,
) -> Float[Tensor, "r d"]:
    length = values.shape[0] * sum(n * n for n in levels)
    out = values.new_empty((len(windows), length), dtype=torch.float32)
    _launch(triton_kernels.pool_windows, values, windows, (out,), levels, layout)
    return out


def _backward(
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    gradient: Float[Tensor, "r d"],
    levels: tuple[int, ...],
    layout: str,
) -> Float[Tensor, "c h w"]:
    channels, rows, columns = values.shape
    out = values.new_zeros((rows, columns, channels), dtype=torch.float32)
    given = (gradient.float().contiguous(), out)
    _launch(triton_kernels.spread_gradient, values, windows, given, levels, layout)
    return out.permute(2, 0, 1).to(values.dtype)


def _launch(
    kernel: Any,
    values: Float[Tensor, "c h w"],
    windows: Int[Tensor, "r 4"],
    given: tuple[Tensor, ...],
    levels: tuple[int, ...],
    layout: str,
) -> None:
    """Run one program for each window and block of channels."""
    channels, rows, columns = values.shape
    length = given[0].shape[1]
    if not len(windows) or not length:
        return
    plan = make_plan(levels)
    narrow = max(plan.sides) > WIDEST_SIDE or kernel is triton_kernels.spread_gradient
    # Two channels per thread need twice the registers: finer grids, and the wider keys of the
    # gradient, leave no room for them.
    vector = 1 if narrow or channels % 2 else 2
    # Windows are the fast axis of the grid: programs that run together read the same channels of
    # the map, which the caches then hold.
    blocks = triton.cdiv(channels, triton_kernels.LANES.value * vector)
    slots = triton.next_power_of_2(max(plan.sides)) ** 2
    cells = values.detach().permute(1, 2, 0).contiguous()
    with torch.cuda.device(cells.get_device()):  # of several, a launch goes to the current one
        kernel[len(windows), blocks](
            cells,
            windows.contiguous(),
            *given,
            rows,
            columns,
            channels // vector,
            length,
            *astuple(plan),
            layout == "bin_major",
            vector,
            num_warps=max(1, slots // SLOTS),
        )
