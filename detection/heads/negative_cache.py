"""The negatives that the SVMs find hard: rows of features, each once, with their classes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detection.heads.svm import Svms
from detection.kernels import tall_matmul

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 28
"""Rows of the cache are kept in blocks of about this size: a larger cache moves no old rows."""


class NegativeCache:
    """Rows of features, each once, with the classes that each is a negative of.

    Rows are bfloat16: half the memory and half the time of a solver that reads them from memory.

    Args:
        feature_dim: length of a row.
        num_classes: K.
        device: where rows come from and SVMs are trained; memberships lie there.
        storage: where the rows are kept; None for ``device``.
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        device: torch.device,
        storage: torch.device | None = None,
    ) -> None:
        self._storage = storage or device
        self.blocks: list[Float[Tensor, "n d"]] = []
        self.members: Bool[Tensor, "n k"] = torch.zeros(
            0, num_classes, dtype=torch.bool, device=device
        )
        self._keys: Int[Tensor, "n 2"] = torch.zeros(0, 2, dtype=torch.int64)
        self._feature_dim = feature_dim
        self._rows_of_block = max(1, BLOCK_BYTES // (2 * feature_dim))
        self._room: Float[Tensor, "n d"] | None = None  # the last block, and place behind its rows

    def __len__(self) -> int:
        return len(self.members)

    def state(self) -> dict[str, Tensor]:
        """Return all that ``restore`` needs. Sums over other blocks would round apart."""
        blocks = {f"block.{index}": block for index, block in enumerate(self.blocks)}
        return {"members": self.members, "keys": self._keys, **blocks}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` returned."""
        count = sum(name.startswith("block.") for name in state)
        self.blocks = [state[f"block.{index}"].to(self._storage) for index in range(count)]
        self._room = None
        self.members = state["members"].to(self.members.device)
        self._keys = state["keys"]

    def counts(self) -> Int[Tensor, " k"]:
        """Return the number of negatives of each class."""
        return self.members.sum(dim=0).cpu()

    def rows_of(self, image_numbers: Sequence[int]) -> Bool[Tensor, " n"]:
        """Mark the rows of some images."""
        numbers = torch.tensor(image_numbers, dtype=torch.int64)
        return torch.isin(self._keys[:, 0], numbers).to(self.members.device)

    def scores(self, svms: Svms) -> Float[Tensor, "n k"]:
        """Return the scores of all rows."""
        if not self.blocks:
            return self.members.float()
        svms = svms.to(self.members.device)
        return tall_matmul.times(self.blocks, svms.weight).add_(svms.bias)

    def add(
        self, image_number: int, values: Float[Tensor, "r d"], negative: Bool[Tensor, "r k"]
    ) -> Int[Tensor, " k"]:
        """Cache the rows that are negatives of some class; return how many are new for each."""
        negative = negative.clone()
        cached = (self._keys[:, 0] == image_number).nonzero().flatten()
        rows = self._keys[cached, 1].to(negative.device)
        # A row that is cached for one class may now be hard for another: it is not stored twice.
        fresh = negative[rows] & ~self.members[cached]
        self.members = self.members.index_put((cached,), self.members[cached] | fresh)
        negative[rows] = False
        chosen = negative.any(dim=1).nonzero().flatten()
        self._append(values[chosen].to(self._storage, torch.bfloat16))
        self.members = torch.cat((self.members, negative[chosen]))
        keys = torch.stack((torch.full_like(chosen, image_number), chosen), dim=1)
        self._keys = torch.cat((self._keys, keys.cpu()))
        return (fresh.sum(dim=0) + negative.sum(dim=0)).cpu()

    def drop(self, svms: Svms, easy_score: float) -> None:
        """Take a row from every class that scores it below ``easy_score``; drop the empty.

        The hardest negative of each class stays whatever its score: an SVM needs one.
        """
        scores = self._member_scores(svms)
        self.members = self.members & ((scores >= easy_score) | _hardest(scores))
        self._keep(self.members.any(dim=1))

    def limit(self, svms: Svms, max_bytes: int) -> None:
        """Drop the rows that every class finds easiest until the cache fits ``max_bytes``."""
        most = max(self.members.shape[1], max_bytes // (2 * self._feature_dim))
        if len(self) <= most:
            return
        scores = self._member_scores(svms)
        value = scores.masked_fill(_hardest(scores), torch.inf).amax(dim=1)
        keep = torch.zeros(len(self), dtype=torch.bool, device=value.device)
        keep[value.topk(most).indices] = True
        logger.warning(
            "SVMs: the negative cache holds %d of %d rows, the hardest; raise svm.cache_gib to "
            "keep all",
            most,
            len(self),
        )
        self._keep(keep)

    def _member_scores(self, svms: Svms) -> Float[Tensor, "n k"]:
        return self.scores(svms).masked_fill(~self.members, -torch.inf)

    def _append(self, rows: Float[Tensor, "n d"]) -> None:
        if not len(rows):
            return
        used = len(self.blocks[-1]) if self.blocks else 0
        filled = used + len(rows)
        if not self.blocks or filled > self._rows_of_block:
            self.blocks.append(rows)
            self._room = None
            return
        # Room that doubles: a block that grows by itself would be copied with every image.
        if self._room is None or len(self._room) < filled:
            size = min(self._rows_of_block, max(filled, 2 * used))
            self._room = rows.new_empty(size, rows.shape[1])
            self._room[:used] = self.blocks[-1]
        self._room[used:filled] = rows
        self.blocks[-1] = self._room[:filled]

    def _keep(self, kept: Bool[Tensor, " n"]) -> None:
        if bool(kept.all()):
            return
        old, self.blocks, self._room = self.blocks[::-1], [], None
        start = 0
        stored = kept.to(self._storage)
        while old:  # lets go of each old block at once: never are two whole caches in memory
            block = old.pop()
            self._append(block[stored[start : start + len(block)]])
            start += len(block)
        self.members = self.members[kept]
        self._keys = self._keys[kept.cpu()]


def _hardest(scores: Float[Tensor, "n k"]) -> Bool[Tensor, "n k"]:
    """Mark the best scored row of each class."""
    if not len(scores):
        return scores.bool()
    return torch.arange(len(scores), device=scores.device)[:, None] == scores.argmax(dim=0)
