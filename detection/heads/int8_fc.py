"""A layer in 8 bits: a scale for each output's weights and for each row of inputs.

``y[i, j] = step[i] * scale[j] * (sum_k q[i, k] * w[j, k] - zero[i] * sum_k w[j, k]) + bias[j]``

The sums are those of whole numbers. A row has all 256 steps for its own range, which begins at 0
after a ReLU; one scale for a batch would leave a row of small numbers few of them.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """Weights in 8 bits: ``w ~ scale * values``.

    Attributes:
        values: of each output.
        scale: of each output.
        sums: of the values of each output.
        bias: of each output, not rounded.
        floor: the least output: 0 with a ReLU.
    """

    values: Int8[Tensor, "f d"]
    scale: Float[Tensor, " f"]
    sums: Float[Tensor, " f"]
    bias: Float[Tensor, " f"]
    floor: float


def round_weights(
    weight: Float[Tensor, "f d"], bias: Float[Tensor, " f"] | None, *, limit: int, relu: bool
) -> ByteWeights:
    """Round to the nearest of ``2 * limit + 1`` steps, as wide as the largest weight asks for.

    Args:
        weight: of the layer.
        bias: of the layer.
        limit: the largest whole number, 127 at most.
        relu: whether one follows.
    """
    weight = weight.float()
    scale = weight.abs().amax(dim=1).clamp(min=1e-12) / limit
    values = (weight / scale[:, None]).round().to(torch.int8)
    return ByteWeights(
        values=values,
        scale=scale,
        sums=values.sum(dim=1).float(),
        bias=torch.zeros(len(weight)) if bias is None else bias.float(),
        floor=0.0 if relu else -float("inf"),
    )


def round_inputs(x: Float[Tensor, "n d"]) -> ByteRows:
    """Return each row in 8 bits."""
    if not (NUMBA_AVAILABLE and x.is_cpu):
        return round_inputs_plainly(x)
    x = x.float().contiguous()
    rows = ByteRows(
        values=torch.empty_like(x, dtype=torch.uint8),
        steps=x.new_empty(len(x)),
        zeros=x.new_empty(len(x)),
    )
    source, arrays = x.numpy(), [t.numpy() for t in (rows.values, rows.steps, rows.zeros)]

    def part(begin: int, end: int) -> None:
        round_rows(source[begin:end], *(array[begin:end] for array in arrays))

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
    sums: Float[Tensor, "n f"], rows: ByteRows, weights: ByteWeights
) -> Float[Tensor, "n f"]:
    """Return the outputs that sums of whole numbers stand for; the sums may be overwritten.

    Args:
        sums: of the products of values.
        rows: the inputs.
        weights: of the outputs.
    """
    if not (NUMBA_AVAILABLE and sums.is_cpu):
        return scale_sums_plainly(sums, rows, weights)
    target = sums.contiguous()
    array, steps, zeros = (t.numpy() for t in (target, rows.steps, rows.zeros))
    fixed = [t.numpy() for t in (weights.scale, weights.sums, weights.bias)]
    floor = np.float32(weights.floor)

    def part(begin: int, end: int) -> None:
        scale_rows(array[begin:end], steps[begin:end], zeros[begin:end], *fixed, floor)

    in_threads(part, len(array))
    return target


def scale_sums_plainly(
    sums: Float[Tensor, "n f"], rows: ByteRows, weights: ByteWeights
) -> Float[Tensor, "n f"]:
    """Do the same without the kernel; the bits are equal."""
    centred = sums - rows.zeros[:, None] * weights.sums
    scaled = centred * (rows.steps[:, None] * weights.scale) + weights.bias
    return scaled.clamp(min=weights.floor)
