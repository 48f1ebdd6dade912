"""What the optimiser is told: groups, rates, randomness; and which weights are kept."""

from __future__ import annotations

import logging
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from detection.config import FineTuneConfig
from detection.training.finetune_model import FineTuneModel

_LOG = logging.getLogger(__name__)


_FIRST, _LAST = 1 / 25, 1e-5
"""The learning rate of a cycle's first and last step, as a part of the highest."""


def learning_rate(step: int, config: FineTuneConfig) -> float:
    """Return a step's learning rate.

    ``step`` divides it by ten after each configured fraction. ``one_cycle`` follows half a cosine
    up, then half a cosine down.
    """
    if config.schedule == "one_cycle":
        top, end = config.warmup * config.iterations - 1, config.iterations - 1
        if step < top:
            share = _half_cosine(step / top)
            return config.learning_rate * (1 + (_FIRST - 1) * share)
        share = _half_cosine((step - top) / max(end - top, 1))
        return config.learning_rate * (_LAST + (1 - _LAST) * share)
    falls = sum(step >= share * config.iterations for share in config.decay_at)
    return config.learning_rate * 0.1**falls


def _half_cosine(progress: float) -> float:
    """Return 1 at the start, 0 at the end."""
    return (1 + math.cos(math.pi * progress)) / 2


def make_optimizer(network: FineTuneModel, config: FineTuneConfig) -> torch.optim.Optimizer:
    """Return the configured optimiser of what is trained."""
    groups = parameter_groups(network, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    # one pass over weights and moments instead of a dozen
    fused = groups[0]["params"][0].device.type in {"cpu", "cuda"}
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=fused)


def parameter_groups(network: FineTuneModel, config: FineTuneConfig) -> list[dict[str, Any]]:
    """Return parameter groups by learning rate and decay: weight, bias; new, fc, conv."""
    old, new = config.weight_decay if config.bias_decay else 0.0, 0.0
    kinds: tuple[tuple[nn.Module | None, float, float], ...] = (
        (network.opened, config.conv_multiplier, old),
        (network.fc, 1.0, old),
        (network.fc8, config.new_layer_multiplier, new),
        (network.bbox, config.new_layer_multiplier, new),
    )
    groups = []
    for module, multiplier, bias_decay in kinds:
        named = [] if module is None else list(module.named_parameters())
        open_ones = [(name, value) for name, value in named if value.requires_grad]
        weights = [value for name, value in open_ones if not name.endswith("bias")]
        biases = [value for name, value in open_ones if name.endswith("bias")]
        groups += [
            {"params": weights, "multiplier": multiplier, "weight_decay": config.weight_decay},
            {
                "params": biases,
                "multiplier": multiplier * config.bias_multiplier,
                "weight_decay": bias_decay,
            },
        ]
    return [group for group in groups if group["params"]]


class Snapshot:
    """The weights that did best on the held-out images; the last ones where there are none.

    Args:
        network: whose weights.
        measure: what an error is: ``rois`` the fraction of RoIs that get a wrong class, ``map`` 1
            less the mAP. A checkpoint of the other measure says nothing of this one.
    """

    def __init__(self, network: nn.Module, measure: Literal["rois", "map"] = "rois") -> None:
        self._network = network
        self._measure = measure
        self._forget()

    def _forget(self) -> None:
        self._error = float("inf")
        self._step = 0
        self._weights: dict[str, Tensor] = {}

    def offer(self, error: float, step: int) -> None:
        """Take the network's weights if they are better than those of any step before."""
        if self._measure == "rois":
            _LOG.info("step %d: %.4f of the held-out RoIs get a wrong class", step, error)
        if error < self._error:
            self._error, self._step = error, step
            self._weights = {n: t.detach().clone() for n, t in self._network.state_dict().items()}

    def restore(self) -> None:
        """Put the best weights into the network."""
        if self._weights:
            best = f"error {self._error:.4f}"
            best = best if self._measure == "rois" else f"mAP {1 - self._error:.4f}"
            _LOG.info("weights of step %d (%s) are kept", self._step, best)
            self._network.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint holds."""
        return {
            "error": self._error,
            "step": self._step,
            "weights": self._weights,
            "measure": self._measure,
        }

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Take over what a checkpoint held."""
        self._forget()
        if state.get("measure", "rois") == self._measure:
            self._error, self._step = float(state["error"]), int(state["step"])
            self._weights = dict(state["weights"])
