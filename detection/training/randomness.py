"""Random numbers as a function of names and numbers, so that nothing has to be carried along."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch

from detection.io.device import random_devices


def mixed(*parts: int | str) -> int:
    """Return a 32-bit seed that depends on every part; torch's CPU generator uses no more."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")


def stream(*parts: int | str) -> torch.Generator:
    """Return a fresh generator seeded by these parts."""
    return torch.Generator().manual_seed(mixed(*parts))


@contextlib.contextmanager
def seeded(device: torch.device, *parts: int | str) -> Iterator[None]:
    """Make dropout a function of these parts; the global generators stay as they were."""
    with torch.random.fork_rng(random_devices(device)):
        torch.manual_seed(mixed(*parts))
        yield
