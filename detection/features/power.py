"""Power normalisation of pooled features."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def power_normalize(values: Float[Tensor, "u d"], power: float) -> Float[Tensor, "u d"]:
    """Return ``sign(x) |x|^power``; the values unchanged if the power is 1.

    Max-pooled conv features have heavy tails: a linear SVM on their square roots is not ruled by
    a few large numbers. Neither paper does it; it helps where the conv layers stay frozen.

    Source:
        Perronnin et al. 2010, "Improving the Fisher kernel", §3.2, there for Fisher vectors.
    """
    if power == 1.0:
        return values
    if power == 0.5:
        return values.sign() * values.abs().sqrt()
    return values.sign() * values.abs().pow(power)
