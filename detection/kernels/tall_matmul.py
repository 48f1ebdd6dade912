"""Products of a tall matrix of features with few columns, the two that linear SVMs need.

The matrix is a list of row blocks, float32 or bfloat16, so that a growing cache needs no copy.
Where numba is installed, a kernel reads each block once; otherwise, and on a GPU, torch multiplies.
Sums are in float32 in both. The few columns say where the product is computed: blocks that are kept
in host memory because a GPU's does not hold them are moved there one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from detection.io.device import is_host
from detection.kernels import matmul
from detection.kernels.jit import NUMBA_AVAILABLE
from detection.kernels.threads import in_threads


def times(blocks: Sequence[Tensor], weights: Float[Tensor, "k d"]) -> Float[Tensor, "n k"]:
    """Return the product of every row with every weight vector."""
    # The kernel keeps the sums of four columns in registers; there are few columns, so that adding
    # up to three costs little.
    spare = -len(weights) % 4
    padded = functional.pad(weights, (0, 0, 0, spare)).contiguous()
    out = weights.new_empty(sum(len(block) for block in blocks), len(padded))
    for start, block in _starts(blocks):
        rows = out[start : start + len(block)]
        if _on_numba(block, weights):
            _times_in_threads(block, padded, rows)
        else:
            torch.mm(block.to(weights), padded.T, out=rows)
    return out[:, : len(weights)].contiguous()


def transposed_times(
    blocks: Sequence[Tensor], factors: Float[Tensor, "n k"]
) -> Float[Tensor, "k d"]:
    """Return, for every column of factors, the sum of the rows times their factors."""
    out = factors.new_zeros(factors.shape[1], blocks[0].shape[1])
    for start, block in _starts(blocks):
        rows = factors[start : start + len(block)].contiguous()
        if _on_numba(block, factors):
            _transposed_in_threads(block, rows, out)
        else:
            out.addmm_(rows.T, block.to(factors))
    return out


def _starts(blocks: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
    start = 0
    for block in blocks:
        if len(block):
            yield start, block
        start += len(block)


def _on_numba(block: Tensor, columns: Tensor) -> bool:
    return (
        NUMBA_AVAILABLE
        and is_host(block.device)
        and is_host(columns.device)
        and block.dtype in {torch.float32, torch.bfloat16}
    )


def _times_in_threads(
    block: Float[Tensor, "m d"], weights: Float[Tensor, "k d"], out: Float[Tensor, "m k"]
) -> None:
    bits, result = _bits(block), out.numpy()
    in_threads(lambda a, b: matmul.times(bits[a:b], weights.numpy(), result[a:b]), len(block), 256)


def _transposed_in_threads(
    block: Float[Tensor, "m d"], factors: Float[Tensor, "m k"], out: Float[Tensor, "k d"]
) -> None:
    # Threads divide the columns, not the rows: each owns a part of the result, and no partial
    # results have to be added up.
    bits, result = _bits(block), out.numpy()
    in_threads(
        lambda a, b: matmul.transposed(bits, factors.numpy(), result, a, b), block.shape[1], 512
    )


def _bits(block: Tensor) -> NDArray[Any]:
    """Return a bfloat16 block as the upper halves of float32 numbers, float32 unchanged."""
    block = block.contiguous()
    if block.dtype == torch.bfloat16:
        return block.view(torch.uint16).numpy()
    return block.numpy()
