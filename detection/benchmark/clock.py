"""Seconds a stage, measured around the very functions that detect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import torch

from detection.io.device import synchronize

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class StageClock:
    """Sums the seconds that each stage takes.

    A GPU is waited for before a stage begins and before it ends, so that its work is counted where
    it was ordered.

    Attributes:
        device: that the stages run on.
        seconds: of each stage since the last `reset`.
    """

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that passes inside to a stage."""
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def timed(self, name: str, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function wrapped so that its time is added to a stage."""

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.stage(name):
                return function(*args, **kwargs)

        return call

    def reset(self) -> dict[str, float]:
        """Return the seconds of each stage and reset them to zero."""
        seconds, self.seconds = self.seconds, {}
        return seconds

    def _wait(self) -> None:
        synchronize(self.device)
