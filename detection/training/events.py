"""What a training says to the functions that it is given: where it is, and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Stage = Literal[
    "pretraining",
    "proposals",
    "fine-tuning",
    "mining",
    "box regression",
    "svms",
    "calibration",
    "evaluation",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEvent:
    """One step that a training has done.

    Attributes:
        stage: ``pretraining`` and ``fine-tuning`` speak after each iteration, ``mining`` after each
            training image; the others say once that they are done.
        step: how many were done, those before an interruption included.
        total: how many there are.
        metrics: numbers of this step: ``loss_class``, ``loss_bbox``, ``learning_rate`` and, where
            the held-out images were looked at, ``validation_map`` or ``validation_error``;
            ``retrainings`` of the SVMs so far, the ``negatives`` that are kept and the
            ``objective`` of the last; ``examples`` of the box regressors; ``threshold`` and ``f1``
            of the calibration; the mAPs of the evaluation.
    """

    stage: Stage
    step: int
    total: int
    metrics: Mapping[str, float] = field(default_factory=dict)


Callback = Callable[[TrainingEvent], object]


class Announcer:
    """Calls functions with what happens, in their order; in the main process only.

    What a function raises ends the training as an interruption does: it can be resumed.

    Args:
        callbacks: the functions.
        silent: call none.
    """

    def __init__(self, callbacks: Iterable[Callback] = (), *, silent: bool = False) -> None:
        self._callbacks: Sequence[Callback] = () if silent else tuple(callbacks)

    @property
    def heard(self) -> bool:
        """Whether there is a function to call: numbers that cost time are for it."""
        return bool(self._callbacks)

    def __call__(
        self, stage: Stage, step: int, total: int, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Call every function.

        Args:
            stage: of the training.
            step: how many were done.
            total: how many there are.
            metrics: numbers of this step.
        """
        if not self._callbacks:
            return
        numbers = MappingProxyType({name: float(value) for name, value in (metrics or {}).items()})
        event = TrainingEvent(stage=stage, step=step, total=total, metrics=numbers)
        for callback in self._callbacks:
            callback(event)


SILENT = Announcer()
