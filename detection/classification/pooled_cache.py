"""What was pooled from the crops of a training, kept in memory while the conv layers are frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

CropKey = tuple[str, int, int, int, bool]
"""(set, index of the image, side of the input, place among centre and corners, mirrored)."""


class PooledCache:
    """Vectors by crop, float32, up to a size; what does not fit is computed again each time.

    Trainings that share the conv layers, the pool and the images may share one.

    Args:
        budget: bytes.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: dict[CropKey, Tensor] = {}

    def __len__(self) -> int:
        """Count the vectors."""
        return len(self._kept)

    def get(
        self,
        keys: Sequence[CropKey],
        crops: UInt8[Tensor, "n 3 s s"],
        pool: Callable[[UInt8[Tensor, "1 3 s s"]], Float[Tensor, "1 d"]],
    ) -> Float[Tensor, "n d"]:
        """Return the vectors of some crops.

        A crop goes through the layers by itself: in a batch its last digits would depend on the
        crops that are still missing, and a resumed training would differ from an undisturbed one.

        Args:
            keys: which crops these are.
            crops: their pixels.
            pool: computes the vector of one.
        """
        rows = [self._one(key, crop, pool) for key, crop in zip(keys, crops, strict=True)]
        return torch.stack(rows)

    def _one(
        self, key: CropKey, crop: UInt8[Tensor, "3 s s"], pool: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, " d"]:
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        vector = pool(crop[None])[0]
        if vector.nbytes <= self._budget:
            self._budget -= vector.nbytes
            self._kept[key] = vector
        return vector
