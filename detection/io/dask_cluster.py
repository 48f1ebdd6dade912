"""A Dask cluster that is used and watched: a worker or a scheduler that falls silent is named.

Dask itself waits five minutes for a worker that is stopped, and for ever where all are.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, TypeVar

from detection.errors import ConfigError, DataError
from detection.io.cores import count_workers
from detection.io.interrupts import held_back, raise_if_interrupted
from detection.io.patience import VARIABLE, silent_seconds

R = TypeVar("R")

_CONNECT = 10
"""Seconds in which a scheduler has to answer."""

_CLOSE = 30
"""Seconds in which local workers have to end after their work."""

_SILENT = 50.0
"""Seconds without a sign of a worker: a new one on a busy core imports and loads for that long."""

_LOOK = 2.0
"""Seconds between two looks at the workers."""

_LOCAL: dict[str, Any] = {
    "dashboard_address": None,
    # Even without a dashboard there is a server: on any free port, or two clusters would be in each
    # other's way.
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
    # Workers say nothing of their own when all ends: the one line is the command's.
    "silence_logs": logging.CRITICAL,
}
"""How local workers are started."""

_LOGGERS = ("distributed", "tornado", "asyncio")


class DaskCluster:
    """The cluster of a Dask client.

    Args:
        client: of the cluster.
        workers: how many tasks to have under way; 0 takes one a thread of the cluster.
    """

    def __init__(self, client: Any, workers: int) -> None:
        self._client = client
        self._count = workers

    def spread(
        self,
        function: Callable[[int, Any], Any],
        tasks: Iterable[tuple[int, Any]],
        timeout: float | None = None,
    ) -> Iterator[tuple[int, Any, str]]:
        """Yield (index, outcome, "") or (index, None, what became of the worker) as they come.

        Dask itself gives the task of a worker that dies to another one, three times.
        """
        under_way: dict[Any, tuple[int, Any]] = {}
        try:
            yield from watched(self._submitted(function, tasks, under_way, timeout), self._client)
        finally:
            under_way.clear()  # what nobody waits for is not begun any more

    def _submitted(
        self,
        function: Callable[[int, Any], Any],
        tasks: Iterable[tuple[int, Any]],
        under_way: dict[Any, tuple[int, Any]],
        timeout: float | None,
    ) -> Iterator[tuple[int, Any, str]]:
        came: queue.SimpleQueue[Any] = queue.SimpleQueue()
        tasks = iter(tasks)
        count = self._count or sum(self._client.ncores().values()) or 1
        while True:
            for index, item in itertools.islice(tasks, count - len(under_way)):
                future = self._client.submit(function, index, item, pure=False)
                under_way[future.key] = index, future
                future.add_done_callback(lambda done: came.put(done.key))
            if not under_way:
                return
            try:
                key = came.get(timeout=timeout)
            except queue.Empty:
                message = f"no result for {timeout} s"
                raise TimeoutError(message) from None
            if key in under_way:  # not where the work was given up meanwhile
                index, future = under_way.pop(key)
                yield _outcome(index, future)


def _outcome(index: int, future: Any) -> tuple[int, Any, str]:
    """Return what a task came to; what is not of a dead worker is raised."""
    try:
        # Also of a task that was done: its result may have gone with the worker, and be made again.
        return index, future.result(), ""
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            raise
    return index, None, "worker processes were killed at it again and again"


@contextlib.contextmanager
def dask_cluster(library: ModuleType, workers: int, address: str = "") -> Iterator[DaskCluster]:
    """Yield the cluster of the current client, of an address, or of local processes.

    Args:
        library: ``distributed``.
        workers: tasks to have under way, and local processes to start; 0 takes all there are, and
            starts one a core.
        address: of the scheduler; "" takes that of DASK_SCHEDULER_ADDRESS.

    Raises:
        ConfigError: if there is no scheduler at that address.
    """
    with _quiet_dask():
        try:
            yield DaskCluster(library.get_client(), workers)
            return
        except ValueError:
            client = _connect(library, workers, address)
        try:
            yield DaskCluster(client, workers)
        except BaseException:
            _kill_own_workers(client)
            _close(client, 1)  # what is lost need not be closed
            raise
        _close(client, _CLOSE)


def _close(client: Any, seconds: float) -> None:
    with contextlib.suppress(Exception):
        client.close(timeout=seconds)


def _kill_own_workers(client: Any) -> None:
    """Kill the local workers that were started here: one that is stopped would never end."""
    for nanny in list(getattr(client.cluster, "workers", {}).values()):
        with contextlib.suppress(Exception):
            os.kill(nanny.pid, signal.SIGKILL)


def _connect(library: ModuleType, workers: int, address: str) -> Any:
    address = address or os.environ.get("DASK_SCHEDULER_ADDRESS", "")
    if not address:
        count = count_workers(workers)
        with held_back():
            return library.Client(n_workers=count, threads_per_worker=1, **_LOCAL)
    try:
        return library.Client(address, timeout=_CONNECT)
    except Exception as error:  # of the address, of the network, of a scheduler of another version
        raise_if_interrupted(error)
        with contextlib.suppress(Exception):  # half a client would be the next call's
            library.default_client().close(timeout=1)
        reason = str(error) or type(error).__name__
        message = (
            "DASK_SCHEDULER_ADDRESS: expected a scheduler such as tcp://host:8786, got "
            f"{address!r} ({reason}); start one with dask scheduler, or unset it for local "
            "processes"
        )
        raise ConfigError(message) from error


@contextlib.contextmanager
def _quiet_dask() -> Iterator[None]:
    """Leave it to the one line of error to say that a scheduler is gone.

    Dask gives its loggers levels of their own; a filter on each holds back what any of them says.
    """
    names = [n for n in logging.root.manager.loggerDict if n.partition(".")[0] in _LOGGERS]
    loggers = [logging.getLogger(name) for name in {*names, *_LOGGERS}]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def watched(outcomes: Iterable[R], client: Any) -> Iterator[R]:
    """Yield the outcomes as they come; stop where a worker or the scheduler falls silent.

    Args:
        outcomes: of tasks on the cluster.
        client: of the cluster.

    Raises:
        DataError: naming the worker, or the scheduler.
    """
    came: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    watch = Watch(silent_seconds(_SILENT))
    done = threading.Event()
    for target, arguments in ((_pump, (outcomes, came)), (_ask, (client, watch, done))):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    try:
        while True:
            try:
                kind, value = came.get(timeout=1.0)
            except queue.Empty:
                if lost := watch.lost():
                    message = (
                        f"parallel: expected a cluster that answers, got {lost}; mend "
                        f"it and run again to continue, or raise {VARIABLE}"
                    )
                    raise DataError(message) from None
                continue
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        done.set()


class Watch:
    """Remembers when each worker was last heard of.

    Args:
        limit: seconds of silence.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._answered = time.monotonic()
        self._heard: dict[str, tuple[float, float]] = {}
        self._manned: float | None = None

    def note(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        """Take what the scheduler says of its workers."""
        now = time.monotonic()
        heard = {name: float(worker.get("last_seen", 0.0)) for name, worker in workers.items()}
        self._heard = {
            name: old if (old := self._heard.get(name, (-1.0, now)))[0] == seen else (seen, now)
            for name, seen in heard.items()
        }
        self._answered = now
        if workers:
            self._manned = now

    def lost(self) -> str:
        """Return who has been silent for too long; "" where nobody has."""
        now = time.monotonic()
        if now - self._answered > self._limit:
            return f"a scheduler that has been silent for {now - self._answered:.0f} s"
        for name, (_, since) in self._heard.items():
            if now - since > self._limit:
                return f"the worker {name} that has been silent for {now - since:.0f} s"
        # Dask gives up to start one again that takes long, and then waits for ever.
        if self._manned is not None and now - self._manned > self._limit:
            return f"none of its workers for {now - self._manned:.0f} s"
        return ""


def _pump(outcomes: Iterable[Any], came: queue.SimpleQueue[tuple[str, Any]]) -> None:
    """Hand on what comes, in a thread: to wait for it has no end of its own."""
    try:
        for outcome in outcomes:
            came.put(("outcome", outcome))
    except BaseException as error:  # it is raised where it is waited for
        came.put(("error", error))
    else:
        came.put(("end", None))


def _ask(client: Any, watch: Watch, done: threading.Event) -> None:
    """Ask the scheduler now and then, in a thread: it may never answer."""
    while not done.wait(_LOOK):
        with contextlib.suppress(Exception):
            identity = client.sync(client.scheduler.identity, callback_timeout=_LOOK)
            watch.note(identity["workers"])
