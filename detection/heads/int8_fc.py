"""A layer in 8 bits: a scale for each output's weights and for each row of inputs, map by map.

``y[i, j] = step[i] * scale[j] * (sum_k q[i, k] * w[j, k] - zero[i] * sum_k w[j, k]) + bias[j]``

The sums are those of whole numbers. A row has all 256 steps for its own range, which begins at 0
after a ReLU; one scale for a batch would leave a row of small numbers few of them. Where the inputs
are those of several maps side by side, each map has scales of its own and a sum of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor

from detection.kernels.jit import NUMBA_AVAILABLE
from detection.kernels.quantize import round_rows, scale_rows
from detection.kernels.threads import in_threads


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ByteRows:
    """Rows of inputs in 8 bits: ``x ~ steps * (values - zeros)``; 0 stays 0.

    Attributes:
        values: 0..255.
        steps: of each row; NaN where it is not finite.
        zeros: what 0 became, whole numbers.
    """

    values: UInt8[Tensor, "n d"]
    steps: Float[Tensor, " n"]
    zeros: Float[Tensor, " n"]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ByteWeights:
    """The weights of some columns in 8 bits: ``w ~ scale * values``.

    Attributes:
        values: of each output.
        scale: of each output.
        sums: of the values of each output.
        bias: of each output, not rounded.
        start: the first column of the inputs.
        floor: the least output: 0 with a ReLU.
    """

    values: Int8[Tensor, "f d"]
    scale: Float[Tensor, " f"]
    sums: Float[Tensor, " f"]
    bias: Float[Tensor, " f"]
    start: int
    floor: float


def round_weights(
    weight: Float[Tensor, "f d"],
    bias: Float[Tensor, " f"] | None,
    *,
    limit: int,
    relu: bool,
    groups: Sequence[int] = (),
) -> tuple[ByteWeights, ...]:
    """Round to the nearest of ``2 * limit + 1`` steps, as wide as the largest weight asks for.

    The outputs of the groups follow one another: each is added to those before, the bias by the
    first, the ReLU by the last.

    Args:
        weight: of the layer.
        bias: of the layer.
        limit: the largest whole number, 127 at most.
        relu: whether one follows.
        groups: numbers of columns that have scales of their own, in order; none is one group.

    Raises:
        ValueError: if the groups are not those of the layer's columns.
    """
    widths = list(groups) or [weight.shape[1]]
    if sum(widths) != weight.shape[1]:
        message = f"groups: expected {weight.shape[1]} columns, got {widths}"
        raise ValueError(message)
    edges = (0, *accumulate(widths))
    last = len(widths) - 1
    return tuple(
        _rounded(
            weight[:, start:end].float(),
            bias if index == 0 else None,
            limit=limit,
            start=start,
            floor=0.0 if relu and index == last else -float("inf"),
        )
        for index, (start, end) in enumerate(pairwise(edges))
    )


def _rounded(
    weight: Tensor, bias: Tensor | None, *, limit: int, start: int, floor: float
) -> ByteWeights:
    scale = weight.abs().amax(dim=1).clamp(min=1e-12) / limit
    values = (weight / scale[:, None]).round().to(torch.int8)
    return ByteWeights(
        values=values,
        scale=scale,
        sums=values.sum(dim=1).float(),
        bias=torch.zeros(len(weight)) if bias is None else bias.float(),
        start=start,
        floor=floor,
    )


def round_inputs(x: Float[Tensor, "n d"], start: int = 0, width: int | None = None) -> ByteRows:
    """Return each row in 8 bits, or some columns of it.

    Args:
        x: the inputs.
        start: the first column.
        width: how many columns; None for all.
    """
    width = x.shape[1] - start if width is None else width
    if not (NUMBA_AVAILABLE and x.is_cpu):
        return round_inputs_plainly(x[:, start : start + width])
    x = x.float().contiguous()
    rows = ByteRows(
        values=torch.empty(len(x), width, dtype=torch.uint8),
        steps=x.new_empty(len(x)),
        zeros=x.new_empty(len(x)),
    )
    source, arrays = x.numpy(), [t.numpy() for t in (rows.values, rows.steps, rows.zeros)]

    def part(begin: int, end: int) -> None:
        round_rows(source[begin:end], start, *(array[begin:end] for array in arrays))

    in_threads(part, len(x))
    return rows


def round_inputs_plainly(x: Float[Tensor, "n d"]) -> ByteRows:
    """Do the same without the kernel, in several passes over the memory; the bits are equal."""
    x = x.float()
    # A column of zeros: every range holds 0, which must stay what it is.
    padded = torch.nn.functional.pad(x, (0, 1))
    low, high = padded.amin(dim=1), padded.amax(dim=1)
    steps = ((high - low) / 255).clamp(min=1e-12)
    finite = low.isfinite() & high.isfinite()
    factor = 1 / steps
    zeros = torch.where(finite, (0.5 - low * factor).floor(), 0.0)
    values = (x * factor[:, None] + (zeros + 0.5)[:, None]).clamp(0, 255)
    return ByteRows(
        values=values.where(finite[:, None], 0.0).to(torch.uint8),
        steps=steps.where(finite, torch.nan),
        zeros=zeros,
    )


def scale_sums(
    sums: Float[Tensor, "n f"],
    rows: ByteRows,
    weights: ByteWeights,
    before: Float[Tensor, "n f"] | None = None,
) -> Float[Tensor, "n f"]:
    """Return the outputs that sums of whole numbers stand for; the sums may be overwritten.

    Args:
        sums: of the products of values.
        rows: the inputs.
        weights: of the outputs.
        before: what they are added to; None for the bias.
    """
    if not (NUMBA_AVAILABLE and sums.is_cpu):
        return scale_sums_plainly(sums, rows, weights, before)
    target = sums.contiguous()
    array, steps, zeros = (t.numpy() for t in (target, rows.steps, rows.zeros))
    scale, totals = weights.scale.numpy(), weights.sums.numpy()
    base = weights.bias[None].numpy() if before is None else before.contiguous().numpy()
    floor = np.float32(weights.floor)

    def part(begin: int, end: int) -> None:
        own = base if before is None else base[begin:end]
        its = array[begin:end], steps[begin:end], zeros[begin:end]
        scale_rows(*its, scale, totals, own, floor)

    in_threads(part, len(array))
    return target


def scale_sums_plainly(
    sums: Float[Tensor, "n f"],
    rows: ByteRows,
    weights: ByteWeights,
    before: Float[Tensor, "n f"] | None = None,
) -> Float[Tensor, "n f"]:
    """Do the same without the kernel; the bits are equal."""
    centred = sums - rows.zeros[:, None] * weights.sums
    scaled = centred * (rows.steps[:, None] * weights.scale)
    return (scaled + (weights.bias if before is None else before)).clamp(min=weights.floor)
