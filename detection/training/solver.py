"""What the optimiser is told: groups, rates, randomness; and which weights are kept."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor, nn

from detection.config import FineTuneConfig
from detection.training.finetune_model import FineTuneModel

_LOG = logging.getLogger(__name__)


def learning_rate(step: int, config: FineTuneConfig) -> float:
    """Return a step's learning rate: divided by ten after each configured fraction."""
    falls = sum(step >= share * config.iterations for share in config.decay_at)
    return config.learning_rate * 0.1**falls


def parameter_groups(network: FineTuneModel, config: FineTuneConfig) -> list[dict[str, Any]]:
    """Return parameter groups by learning rate and decay: weight, bias; new, fc, conv."""
    kinds: tuple[tuple[nn.Module | None, float], ...] = (
        (network.opened, config.conv_multiplier),
        (network.fc, 1.0),
        (network.fc8, config.new_layer_multiplier),
        (network.bbox, config.new_layer_multiplier),
    )
    groups = []
    for module, multiplier in kinds:
        named = [] if module is None else list(module.named_parameters())
        open_ones = [(name, value) for name, value in named if value.requires_grad]
        weights = [value for name, value in open_ones if not name.endswith("bias")]
        biases = [value for name, value in open_ones if name.endswith("bias")]
        groups += [
            {"params": weights, "multiplier": multiplier, "weight_decay": config.weight_decay},
            {
                "params": biases,
                "multiplier": multiplier * config.bias_multiplier,
                "weight_decay": 0,
            },
        ]
    return [group for group in groups if group["params"]]


class Snapshot:
    """The weights that did best on the held-out images; the last ones where there are none."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._error = float("inf")
        self._step = 0
        self._weights: dict[str, Tensor] = {}

    def offer(self, error: float, step: int) -> None:
        """Take the network's weights if they are better than those of any step before."""
        _LOG.info("step %d: %.4f of the held-out RoIs get a wrong class", step, error)
        if error < self._error:
            self._error, self._step = error, step
            self._weights = {n: t.detach().clone() for n, t in self._network.state_dict().items()}

    def restore(self) -> None:
        """Put the best weights into the network."""
        if self._weights:
            _LOG.info("weights of step %d (error %.4f) are kept", self._step, self._error)
            self._network.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint holds."""
        return {"error": self._error, "step": self._step, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take over what a checkpoint held."""
        self._error, self._step = float(state["error"]), int(state["step"])
        self._weights = dict(state["weights"])
