"""Examples of box regression by class, all of them or a sample, in bounded memory."""

from __future__ import annotations

import tempfile
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detection.io.files import explain

Rows = tuple[Float[Tensor, "n d"], Float[Tensor, "n 4"]]
"""Features in float16, and the delta that belongs to each."""


class Store(Protocol):
    """Features and deltas by class."""

    def add(self, label: int, feature: Float[Tensor, " d"], delta: Float[Tensor, " 4"]) -> None:
        """Take an example of a class."""

    def of(self, label: int) -> Rows:
        """Return the examples of a class."""


class RowStore:
    """All examples, in the order in which they came.

    Features are kept in memory up to a size, in a temporary file of each class beyond it.

    Args:
        num_classes: K.
        dim: length of a row.
        max_bytes: of memory for rows that are not yet in files.
        folder: where the files are made; None takes the system's. They have no names, and go with
            the process however it ends.
    """

    def __init__(
        self, num_classes: int, dim: int, max_bytes: int, folder: Path | None = None
    ) -> None:
        self.dim = dim
        self._max_bytes = max_bytes
        self._folder = folder
        self._waiting: list[list[Tensor]] = [[] for _ in range(num_classes)]
        self._deltas: list[list[Tensor]] = [[] for _ in range(num_classes)]
        self._files: list[IO[bytes] | None] = [None] * num_classes
        self._bytes = 0
        self._open = ExitStack()
        weakref.finalize(self, self._open.close)

    def add(self, label: int, feature: Float[Tensor, " d"], delta: Float[Tensor, " 4"]) -> None:
        """Take an example of a class.

        Raises:
            DataError: where the disk is full.
        """
        self._waiting[label].append(feature.to(torch.float16, copy=True))
        self._deltas[label].append(delta)
        self._bytes += 2 * self.dim
        if self._bytes > self._max_bytes:
            self._spill()

    def of(self, label: int) -> Rows:
        """Return the examples of a class; features in a file are read as they are used."""
        deltas, file = _stacked(self._deltas[label], 4), self._files[label]
        if file is None:
            return _stacked(self._waiting[label], self.dim), deltas
        self._write(label)
        mapped = np.memmap(file, np.float16, mode="r+").reshape(-1, self.dim)
        return torch.from_numpy(mapped), deltas

    def _spill(self) -> None:
        for label in range(len(self._waiting)):
            self._write(label)
        self._bytes = 0

    def _write(self, label: int) -> None:
        """Append the waiting rows of a class to its file."""
        rows = self._waiting[label]
        if not rows:
            return
        folder = self._folder or Path(tempfile.gettempdir())
        data = torch.stack(rows).numpy().tobytes()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = self._files[label]
            if file is None:
                file = self._open.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
                self._files[label] = file
            file.seek(0, 2)
            file.write(data)
            file.flush()
        except OSError as error:
            raise explain(error, folder / "box regression", len(data)) from error
        rows.clear()


class Reservoir:
    """A uniform random sample of the examples of each class, in memory.

    Args:
        num_classes: K.
        dim: length of a feature.
        size: examples kept of each class at most.
        seed: of the drawing.
    """

    def __init__(self, num_classes: int, dim: int, size: int, seed: int) -> None:
        self.dim = dim
        self._size = size
        self._random = torch.Generator().manual_seed(seed)
        self._seen = [0] * num_classes
        self._kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(num_classes)]

    def add(self, label: int, feature: Float[Tensor, " d"], delta: Float[Tensor, " 4"]) -> None:
        """Reservoir sampling: each example seen so far is kept with the same probability."""
        self._seen[label] += 1
        kept = self._kept[label]
        example = (feature.to(torch.float16, copy=True), delta)
        if len(kept) < self._size:
            kept.append(example)
            return
        slot = int(torch.randint(self._seen[label], (1,), generator=self._random))
        if slot < len(kept):
            kept[slot] = example

    def of(self, label: int) -> Rows:
        """Return the examples of a class; stacking copies them."""
        kept = self._kept[label]
        return _stacked([row for row, _ in kept], self.dim), _stacked([d for _, d in kept], 4)


def _stacked(rows: list[Tensor], length: int) -> Tensor:
    return torch.stack(rows) if rows else torch.zeros(0, length)
