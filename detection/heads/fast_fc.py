"""fc6 and fc7 at test time, faster: packed float32, bfloat16, int8, or low rank.

Each is a frozen copy of the weights in the layout that its kernel wants, and returns float32. Where
a machine lacks the instructions or torch the kernel, the next more exact form is used instead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor, nn
from torch.nn import functional

from detection.heads.fc import FcHead, FcName
from detection.heads.int8_fc import round_inputs, round_weights, scale_sums
from detection.io.device import has_bfloat16_unit, sums_bytes_in_32_bits

logger = logging.getLogger(__name__)

Kind = Literal["fp32", "bf16", "int8", "svd", "svd_int8"]
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class FastFc:
    """A chain of frozen layers.

    Attributes:
        kind: the requested form.
        steps: what is applied, in order; the last returns float32.
    """

    kind: Kind
    steps: tuple[Step, ...]

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n f"]:
        """Return the layer's outputs after its ReLU."""
        with torch.no_grad():
            for step in self.steps:
                x = step(x)
            return x.float()


def prepare_fast(
    head: FcHead,
    kind: Kind,
    layer: FcName = "fc7",
    ranks: tuple[int, int] = (1024, 256),
    groups: Sequence[int] = (),
) -> FastFc:
    """Freeze fc6, or fc6 and fc7, in a faster form.

    Args:
        head: trained; later changes of it are not seen.
        kind: ``fp32`` packed by oneDNN; ``bf16``; ``int8`` with one scale for each output's weights
            and one for each row of inputs; ``svd`` truncated to ``ranks``, in bf16; ``svd_int8``
            truncated and 8-bit.
        layer: the last layer to apply.
        ranks: of fc6 and fc7 for ``svd``.
        groups: numbers of fc6's inputs that have scales of their own in ``int8``, in order: those
            of each map; none is one group.

    Source:
        Fast R-CNN §4.4 (1024 singular values of fc6 and 256 of fc7 take 0.3 mAP).
    """
    layers = head.layers[:1] if layer == "fc6" else head.layers
    if kind in {"svd", "svd_int8"}:
        make = _bf16 if kind == "svd" else _int8
        pairs = (_low_rank(fc, rank, make) for fc, rank in zip(layers, ranks, strict=False))
        return FastFc(kind=kind, steps=tuple(step for pair in pairs for step in pair))
    if kind == "int8":
        first, *rest = layers
        steps = [_int8(first.weight, first.bias, groups=groups)]
        steps += [_int8(fc.weight, fc.bias) for fc in rest]
        return FastFc(kind=kind, steps=tuple(steps))
    make = _packed if kind == "fp32" else _bf16
    return FastFc(kind=kind, steps=tuple(make(fc.weight, fc.bias) for fc in layers))


def _packed(weight: Tensor, bias: Tensor | None, *, relu: bool = True) -> Step:
    """Freeze one layer in its weights' own precision, packed by oneDNN where that is possible."""
    weight, bias = _frozen(weight), None if bias is None else _frozen(bias)
    dtype = weight.dtype
    if weight.is_cpu and _has_onednn():
        packed = _rearranged(weight)
        after = "relu" if relu else "none"
        call = torch.ops.mkldnn._linear_pointwise

        def onednn(x: Tensor) -> Tensor:
            return _tensor(call(x.to(dtype), packed, bias, after, [], ""))

        if _works(onednn, weight):
            return onednn

    def plain(x: Tensor) -> Tensor:
        y = functional.linear(x.to(weight.dtype), weight, bias)
        return y.relu_() if relu else y

    return plain


def _rearranged(weight: Tensor) -> Tensor:
    """Return weights in the order in which oneDNN's kernel reads them.

    `to_mkldnn` alone keeps their order: each call would rearrange them again, which takes as long
    as the product of a few dozen rows.
    """
    try:
        return _tensor(torch.ops.mkldnn._reorder_linear_weight(weight, None))
    except RuntimeError as error:
        logger.info("fc: weights not rearranged (%s)", str(error).splitlines()[0])
        return weight.to_mkldnn()


def _bf16(weight: Tensor, bias: Tensor | None, *, relu: bool = True) -> Step:
    """Freeze one layer in bfloat16; in float32 where a CPU has no unit for it."""
    if weight.is_cpu and not _has_bf16():
        logger.info("fc: no bfloat16 unit here; float32 instead")
        return _packed(weight, bias, relu=relu)
    half = None if bias is None else bias.to(torch.bfloat16)
    return _packed(weight.to(torch.bfloat16), half, relu=relu)


def _int8(
    weight: Tensor, bias: Tensor | None, *, relu: bool = True, groups: Sequence[int] = ()
) -> Step:
    """Freeze one layer in 8 bits; each row of inputs is quantised over its own range.

    Weights have 7 bits where a processor would cut the sums of larger products.
    """
    if not (weight.is_cpu and _has_onednn()):
        logger.info("fc: no 8-bit kernel here; bfloat16 instead")
        return _bf16(weight, bias, relu=relu)
    # Without VNNI, pairs of 8-bit products are added in 16 bits, which saturate: 7 bits cannot.
    limit = 127 if sums_bytes_in_32_bits() else 63
    offset = None if bias is None else _frozen(bias)
    parts = round_weights(_frozen(weight), offset, limit=limit, relu=relu, groups=groups)
    try:
        pairs = [(part, whole_products(part.values)) for part in parts]
    except RuntimeError as error:
        logger.info("fc: no 8-bit kernel here (%s); bfloat16 instead", str(error).splitlines()[0])
        return _bf16(weight, bias, relu=relu)

    def quantised(x: Tensor) -> Tensor:
        out = None
        for part, multiply in pairs:
            rows = round_inputs(x.float(), part.start, part.values.shape[1])
            out = scale_sums(multiply(rows.values), rows, part, out)
        return _tensor(out)

    return quantised if _works(quantised, weight) else _bf16(weight, bias, relu=relu)


def whole_products(
    weights: Int8[Tensor, "f d"],
) -> Callable[[UInt8[Tensor, "n d"]], Float[Tensor, "n f"]]:
    """Return the function from 8-bit rows to their sums of products, as float32.

    The sums are exact up to 2 ** 24 and rounded to the nearest beyond.

    Raises:
        RuntimeError: where torch has no kernel for it.
    """
    packed = torch.ops.onednn.qlinear_prepack(weights, None)
    # oneDNN scales by batch; rows are scaled afterwards.
    one, zero = torch.ones(1), torch.zeros(1, dtype=torch.int64)
    after: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
    call = torch.ops.onednn.qlinear_pointwise
    return lambda values: _tensor(call(values, 1.0, 0, packed, one, zero, None, *after))


def _low_rank(layer: nn.Linear, rank: int, make: Callable[..., Step]) -> tuple[Step, ...]:
    """Replace a layer by two, the first without bias, where that saves work.

    What passes between the two is turned at random, which changes nothing but spreads the few large
    components over all: 8 bits then resolve them alike.
    """
    outputs, inputs = layer.weight.shape
    # Two thin products are then no cheaper than the one they would replace.
    if rank * (outputs + inputs) >= outputs * inputs:
        return (make(layer.weight, layer.bias),)
    first, second = truncate(_frozen(layer.weight), rank)
    random = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(rank, rank, generator=random)).Q.to(first)
    return make(turn @ first, None, relu=False), make(second @ turn.T, layer.bias)


def truncate(
    weight: Float[Tensor, "m n"], rank: int
) -> tuple[Float[Tensor, "r n"], Float[Tensor, "m r"]]:
    """Return the factors of the best approximation of this rank: ``weight ~ second @ first``."""
    # The smaller of the two Gram matrices: cheaper than the singular values of fc6, and only the
    # left singular vectors are needed.
    _, vectors = torch.linalg.eigh(weight @ weight.T)
    second = vectors[:, -rank:].contiguous()
    return second.T @ weight, second


def _frozen(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _has_bf16() -> bool:
    return has_bfloat16_unit()


def _tensor(result: Any) -> Tensor:
    if not isinstance(result, Tensor):
        message = f"expected a tensor, got {type(result).__name__}"
        raise TypeError(message)
    return result


def _works(step: Step, weight: Tensor) -> bool:
    """Try a kernel once: torch names these operators everywhere and has them on some machines."""
    try:
        step(torch.ones(1, weight.shape[1]))
    except RuntimeError as error:
        logger.info("fc: kernel not usable (%s)", str(error).splitlines()[0])
        return False
    return True
