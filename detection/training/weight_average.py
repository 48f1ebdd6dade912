"""An exponential moving average of the trained weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_RAMP = 10
"""The average reaches over a tenth of the steps so far until that is as long as its decay says:
otherwise the initial weights would stay in it."""


class WeightAverage:
    """An exponential moving average of a network's trainable parameters.

    After step t each average moves by 1 - min(decay, (1 + t) / (10 + t)) of the way to its
    parameter (Polyak and Juditsky 1992; the ramp as in TensorFlow's ``ExponentialMovingAverage``).

    Args:
        network: whose parameters.
        decay: per step, below 1; 0 averages nothing.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._steps = 0
        named = {} if decay == 0 else dict(network.named_parameters())
        self._parameters = {name: value for name, value in named.items() if value.requires_grad}
        self._averages = {name: p.detach().clone() for name, p in self._parameters.items()}

    def update(self) -> None:
        """Move the averages towards the parameters; call it after each step of the optimiser."""
        self._steps += 1
        if not self._parameters:
            return
        decay = min(self._decay, (1 + self._steps) / (_RAMP + self._steps))
        current = [value.detach() for value in self._parameters.values()]
        torch._foreach_lerp_(list(self._averages.values()), current, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run a block with the averages in the network."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def swap(self) -> None:
        """Exchange parameters and averages; no number is copied."""
        for name, parameter in self._parameters.items():
            parameter.data, self._averages[name] = self._averages[name], parameter.data

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint holds."""
        return {"steps": self._steps, "averages": dict(self._averages)}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take over what a checkpoint held."""
        self._steps = int(state["steps"])
        for name, average in self._averages.items():
            average.copy_(state["averages"][name])
