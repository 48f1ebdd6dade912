"""The loop around every training: resume, step, log, save, stop when asked to."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol, runtime_checkable

from detection.errors import CheckpointError, DataError
from detection.io.progress import track
from detection.training.checkpoint import load_latest, save_checkpoint
from detection.training.distributed import ALONE, Workers
from detection.training.log import StepLog
from detection.words import counted

_LOG = logging.getLogger(__name__)

_MOST_NAMES = 8
_LOOKED_AT = 20
"""Steps after which the rest is estimated: the first ones also compile and fill caches."""


@runtime_checkable
class Stateful(Protocol):
    """Anything whose state a checkpoint holds: a module, an optimiser, a snapshot."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain data."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Load what ``state_dict`` returned."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How long to train, how often to save and log.

    Attributes:
        iterations: steps in all.
        checkpoint_every: steps between checkpoints.
        log_every: steps between rows of the log, each the mean over them.
        tensorboard: write event files too.
    """

    iterations: int
    checkpoint_every: int = 1000
    log_every: int = 20
    tensorboard: bool = False


def run_steps(
    step: Callable[[int], Mapping[str, float]],
    parts: Mapping[str, Stateful],
    config: LoopConfig,
    folder: Path,
    *,
    resume: bool = False,
    workers: Workers = ALONE,
    description: str = "training",
) -> None:
    """Run the remaining steps, and save a checkpoint of the last one.

    Law: if a step depends only on its number and on ``parts``, then stopping anywhere, however
    hard, and resuming ends with the same ``parts`` as never stopping.

    Args:
        step: does one step, given how many were done before it; returns what to log.
        parts: what the steps change.
        config: how long and how often.
        folder: of checkpoints and log.
        resume: begin at the last checkpoint, where there is one.
        workers: the processes that train together.
        description: for the progress line.

    Raises:
        CheckpointError: if there are checkpoints to resume from and none is good.
        SystemExit: 143 after SIGTERM and 130 after SIGINT, the state saved.
    """
    first = _restore(parts, folder) if resume else 0
    if first >= config.iterations:
        return
    log = StepLog(
        folder, first, config.log_every, tensorboard=config.tensorboard, silent=not workers.is_main
    )
    steps: Iterable[int] = range(first, config.iterations)
    if workers.is_main:
        steps = track(steps, config.iterations - first, description)
    with GracefulStop() as stop, log:
        start = time.monotonic()
        for index in steps:
            log.add(index + 1, step(index))
            if index + 1 - first == _LOOKED_AT and workers.is_main:
                _log_estimate(description, time.monotonic() - start, config.iterations - index - 1)
            # All processes stop after the same step, whichever got the signal: one that goes on
            # alone would wait for the others for ever.
            done, signalled = index + 1, workers.max(stop.signal)
            if signalled or done % config.checkpoint_every == 0 or done == config.iterations:
                _save(parts, folder, done, workers)
            if signalled:
                _LOG.warning("stopped by signal %d after step %d; state saved", signalled, done)
                raise SystemExit(128 + signalled)


def _log_estimate(description: str, seconds: float, left: int) -> None:
    """Log how long the remaining steps will take."""
    per_step = seconds / _LOOKED_AT
    minutes = counted(math.ceil(left * per_step / 60), "minute")
    message = "%s: about %s left (%s of %.2f s)"
    _LOG.info(message, description, minutes, counted(left, "step", spec=","), per_step)


def check_finite(
    loss: float, *, step: int, learning_rate: float, image_ids: Sequence[str] = ()
) -> None:
    """Stop before a step that would spoil the weights.

    Args:
        loss: of the mini-batch.
        step: how many steps were done before.
        learning_rate: of this step.
        image_ids: the images of the mini-batch.

    Raises:
        DataError: if the loss is NaN or infinite.
    """
    if math.isfinite(loss):
        return
    names = ", ".join(image_ids[:_MOST_NAMES]) or "unknown"
    more = f" and {len(image_ids) - _MOST_NAMES} more" if len(image_ids) > _MOST_NAMES else ""
    message = (
        f"step {step + 1}: expected a finite loss, got {loss} (learning rate {learning_rate:g}, "
        f"images {names}{more}); lower the learning rate and resume with --override, or check "
        "these images. The last good state is kept"
    )
    raise DataError(message)


class GracefulStop:
    """Turns SIGTERM and SIGINT into a number that the loop looks at between two steps.

    A second signal does what it did before. Outside the main thread nothing changes: Python
    delivers no signals there.

    Attributes:
        signal: which signal came; 0 for none.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> GracefulStop:
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put back who listened before."""
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()
        _LOG.warning("signal %d: stopping after this step", number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()


def _restore(parts: Mapping[str, Stateful], folder: Path) -> int:
    """Take over the last checkpoint; return the number of its steps."""
    checkpoint = load_latest(folder)
    if checkpoint is None:
        return 0
    if checkpoint.state.keys() != parts.keys():
        message = (
            f"{folder}: expected a checkpoint of {sorted(parts)}, got one of "
            f"{sorted(checkpoint.state)}; start anew with --overwrite"
        )
        raise CheckpointError(message)
    try:
        for name, part in parts.items():
            part.load_state_dict(checkpoint.state[name])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        message = f"{folder}: expected a checkpoint of this network, got another ({reason})"
        raise CheckpointError(message) from error
    _LOG.info("%s: resumed after step %d", folder, checkpoint.step)
    return checkpoint.step


def _save(parts: Mapping[str, Stateful], folder: Path, step: int, workers: Workers) -> None:
    """Let rank 0 write the state, which is the same on all."""
    if workers.is_main:
        save_checkpoint(folder, {name: part.state_dict() for name, part in parts.items()}, step)
    workers.wait()
