"""The processes of one training: one, or those that torchrun started."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detection.config import Config
from detection.errors import ConfigError
from detection.io.device import resolve_device
from detection.io.interrupts import raise_if_interrupted
from detection.runs.folder import RunFolder, open_run
from detection.runs.torchrun import world_size
from detection.training.heartbeat import heartbeat


class Workers:
    """The processes that train together; each knows its rank.

    Alone, every method does nothing and costs nothing.

    Attributes:
        rank: of this process, 0 to ``count`` - 1.
        count: processes.
    """

    def __init__(self, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.rank = accelerator.process_index if accelerator else 0
        self.count = accelerator.num_processes if accelerator else 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return bool(self.rank == 0)

    def prepare(self, module: nn.Module) -> nn.Module:
        """Return the module wrapped so that backward averages gradients over the processes.

        The parameters stay those of ``module``; all processes start from those of rank 0.
        """
        return self._accelerator.prepare(module) if self._accelerator else module

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes, the same on each."""
        return self._accelerator.reduce(values, "sum") if self._accelerator else values

    def max(self, value: int) -> int:
        """Return the maximum over all processes, the same on each."""
        if not self._accelerator:
            return value
        own = torch.tensor([value], device=self._accelerator.device)
        return int(self._accelerator.gather(own).max())

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self._accelerator:
            self._accelerator.wait_for_everyone()


ALONE = Workers()


@contextlib.contextmanager
def start_run(
    config: Config, out: Path, *, resume: bool, override: bool, overwrite: bool
) -> Iterator[tuple[RunFolder, Workers]]:
    """Open a run folder in the main process of a training; the other processes follow it.

    Args:
        config: everything there is to choose.
        out: the run folder, new or empty.
        resume: continue what was interrupted in there.
        override: resume although the configuration changed.
        overwrite: start anew in a folder that holds a run.

    Raises:
        DetectionError: naming what a user can mend.
    """
    resolve_device(config.features.device)  # a device that is not there is said before anything
    workers = start_workers(config.features.device)
    with contextlib.ExitStack() as stack:
        stack.enter_context(heartbeat(workers.rank, workers.count))
        stack.enter_context(_losses_named(workers.count))
        run = RunFolder(path=Path(out), config=config)
        if workers.is_main:
            opened = open_run(out, config, resume=resume, override=override, overwrite=overwrite)
            run = stack.enter_context(opened)
        workers.wait()
        yield run, workers


@contextlib.contextmanager
def _losses_named(count: int) -> Iterator[None]:
    """Say in one line that another of ``count`` processes has ended."""
    try:
        yield
    except RuntimeError as error:
        said = " ".join(str(error).split())
        if count == 1 or not any(word in said.lower() for word in ("gloo", "nccl", "c10d")):
            raise
        raise_if_interrupted(error)
        message = (
            "torchrun: expected every process to answer, got the end of one of them "
            f"({said.rpartition('] ')[2]:.90}); start again with --resume"
        )
        raise ConfigError(message) from error


def start_workers(device: str = "auto") -> Workers:
    """Join the processes that torchrun started; alone without it.

    Args:
        device: as configured; ``cpu`` keeps every process off the graphics cards.

    Raises:
        ConfigError: under torchrun without the library accelerate, where the variables that
            torchrun sets are incomplete, or the other processes cannot be reached.
    """
    if world_size() == 1:
        return ALONE
    try:
        from accelerate import Accelerator
    except ImportError as error:
        message = (
            "torchrun: expected the library accelerate for more than one process, got none; "
            "pip install 'sppnet-detection[ddp]'"
        )
        raise ConfigError(message) from error
    try:
        return Workers(Accelerator(cpu=device == "cpu" or not torch.cuda.is_available()))
    except (RuntimeError, ValueError, OSError) as error:
        raise_if_interrupted(error)
        message = f"torchrun: expected to reach the other processes, got {error}; start them anew"
        raise ConfigError(message) from error
