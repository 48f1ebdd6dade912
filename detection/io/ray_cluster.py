"""A Ray cluster that is used: the one at an address, or one of local processes."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from detection.errors import ConfigError
from detection.io.cores import count_workers
from detection.io.interrupts import held_back, raise_if_interrupted

_RETRIES = 3
"""How often a task is given to another worker when its worker dies; as many as Dask does."""


class RayCluster:
    """The Ray that this process is connected to.

    Args:
        library: ``ray``.
        workers: how many tasks to have under way; 0 takes one a CPU of the cluster.
    """

    def __init__(self, library: ModuleType, workers: int) -> None:
        self._library = library
        self._count = workers or max(1, int(library.cluster_resources().get("CPU", 1)))

    def spread(
        self,
        function: Callable[[int, Any], Any],
        tasks: Iterable[tuple[int, Any]],
        timeout: float | None = None,
    ) -> Iterator[tuple[int, Any, str]]:
        """Yield (index, outcome, "") or (index, None, what became of the worker) as they come."""
        ray, under_way = self._library, dict[Any, int]()
        remote = ray.remote(num_cpus=1, max_retries=_RETRIES)(_call)
        sent = ray.put(function)
        tasks = iter(tasks)
        try:
            while True:
                for index, item in itertools.islice(tasks, self._count - len(under_way)):
                    under_way[remote.remote(sent, index, item)] = index
                if not under_way:
                    return
                ready, _ = ray.wait(list(under_way), num_returns=1, timeout=timeout)
                if not ready:
                    message = f"no result for {timeout} s"
                    raise TimeoutError(message)
                index = under_way.pop(ready[0])
                try:
                    yield index, ray.get(ready[0]), ""
                except ray.exceptions.RayError as error:
                    raise_if_interrupted(error)
                    yield index, None, _lost(error)
        finally:
            for reference in under_way:
                with contextlib.suppress(Exception):  # what is lost need not be ended
                    ray.cancel(reference, force=True)


def _call(function: Callable[[int, Any], Any], index: int, item: Any) -> Any:
    """Call a function that Ray itself would not take, such as a partial one."""
    return function(index, item)


def _lost(error: Exception) -> str:
    """Say what became of a worker, in a line."""
    text = " ".join(str(error).split())
    return f"a worker process was killed {_RETRIES + 1} times at it ({text[:200]})"


@contextlib.contextmanager
def ray_cluster(library: ModuleType, workers: int, address: str = "") -> Iterator[RayCluster]:
    """Yield the Ray in use, or that of an address or RAY_ADDRESS, or one of local processes.

    Args:
        library: ``ray``.
        workers: tasks to have under way; 0 takes one a CPU.
        address: host:port of the head, or ``auto``.

    Raises:
        ConfigError: if nobody answers at the address.
    """
    if library.is_initialized():
        yield RayCluster(library, workers)
        return
    with _own_sigterm():
        _connect(library, workers, address or os.environ.get("RAY_ADDRESS", ""))
    try:
        yield RayCluster(library, workers)
    finally:
        with contextlib.suppress(Exception):
            library.shutdown()


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what SIGTERM does here: Ray puts a handler of its own there, and leaves it."""
    alone = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if alone and before is not None:
            signal.signal(signal.SIGTERM, before)


def _connect(library: ModuleType, workers: int, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        with held_back():
            library.init("local", num_cpus=count_workers(workers), include_dashboard=False, **quiet)
        return
    try:
        library.init(address, **quiet)
    except Exception as error:
        raise_if_interrupted(error)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        message = (
            f"RAY_ADDRESS: expected the head of a cluster such as host:6379, got {address!r} "
            f"({reason}); start one with ray start --head, or unset it for local processes"
        )
        raise ConfigError(message) from error
