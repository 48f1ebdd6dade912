"""Map a function over items in several processes; every failure names its item."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from detection.errors import CheckpointError, ConfigError, DataError, DetectionError, ImageError
from detection.io.clusters import CLUSTERS, open_cluster
from detection.io.cores import count_workers
from detection.io.image_errors import NO_MEMORY
from detection.io.interrupts import held_back, raise_if_interrupted
from detection.io.orphans import end_with_parent

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_KINDS: dict[str, type[DetectionError]] = {
    kind.__name__: kind
    for kind in (DetectionError, ConfigError, DataError, ImageError, CheckpointError)
}


class WorkerTraceback(Exception):  # noqa: N818
    """Where in a worker an exception came from, as text."""


def parallel_map(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    workers: int,
    names: Sequence[str],
    backend: str = "loky",
    timeout: float | None = None,
    on_error: Callable[[int, ImageError], None] | None = None,
    deaths: int = 0,
) -> Iterator[tuple[int, R]]:
    """Yield (index of the item, result) as the results come in.

    Args:
        function: of a module's top level, so that a process can find it.
        items: what it is called with.
        workers: processes; 1 stays in this one unless there is a cluster, 0 takes one per core or
            all of the cluster.
        names: of the items, for the messages.
        backend: ``loky`` (processes) or ``threading`` of joblib; ``dask`` (the cluster of the
            current client, or of DASK_SCHEDULER_ADDRESS, or ``workers`` local processes) or
            ``ray`` (the same with RAY_ADDRESS).
        timeout: seconds that one item may take; None waits for ever.
        on_error: called with (index, error) for each image that is itself at fault, and the rest
            goes on; None raises the first failure, as any other error is raised.
        deaths: how many deaths of its process an item survives; clusters have a limit of their own.

    Raises:
        DetectionError: of the item's own kind, or DataError for any other exception, for a process
            that was killed and for one that took too long; the message names the item.
        KeyboardInterrupt: at Ctrl-C, in whichever process.
    """
    if not items:
        return
    count = min(count_workers(workers), len(items))
    stop = threading.Event()
    tasks = _until(stop, enumerate(items))
    outcomes: Iterator[tuple[int, Any, Any]]
    if backend in CLUSTERS:
        outcomes = _on_cluster(function, tasks, workers, names, backend, timeout)
    elif count == 1:
        outcomes = (_attempt(function, index, item) for index, item in tasks)
    else:
        outcomes = _surviving(function, tasks, count, names, backend, timeout, deaths)
    first: DetectionError | None = None
    for index, result, failure in outcomes:
        raise_if_interrupted()
        if failure is None:
            yield index, result
            continue
        error = _rebuild(failure, names[index])
        if on_error is not None and isinstance(error, ImageError):
            on_error(index, error)
        elif first is None:  # what is under way ends in peace, nothing new begins
            first = error
            stop.set()
    if first is not None:
        raise first


def _until(stop: threading.Event, items: Iterable[T]) -> Iterator[T]:
    """Pass items on until ``stop`` is set."""
    for item in items:
        if stop.is_set():
            return
        yield item


def _attempt(function: Callable[[T], R], index: int, item: T) -> tuple[int, Any, Any]:
    """Return (index, result, None) or (index, None, (kind, message, traceback)).

    Exceptions travel as text: one that cannot be pickled would otherwise never arrive.
    """
    try:
        return index, function(item), None
    except DetectionError as error:
        raise_if_interrupted(error)
        return index, None, (type(error).__name__, str(error), traceback.format_exc())
    except Exception as error:
        raise_if_interrupted(error)
        message = (
            NO_MEMORY if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
        )
        return index, None, ("", message, traceback.format_exc())


def _attempt_from(
    folder: str, parent: int, function: Callable[[T], R], index: int, item: T
) -> tuple[int, Any, Any]:
    """Attempt it in a folder: loky keeps its processes, whoever began them and wherever."""
    if folder:
        end_with_parent(parent)
        os.chdir(folder)
    return _attempt(function, index, item)


def _rebuild(failure: tuple[str, str, str], name: str) -> DetectionError:
    """Rebuild an item's error with its name; the worker's traceback is its cause."""
    kind, message, trace = failure
    named = kind == "DataError" or (kind and name in message)  # a full disk is no image's fault
    text = message if named else f"{name}: {message}"
    error = _KINDS.get(kind, DataError)(" ".join(text.split()))
    error.__cause__ = WorkerTraceback(trace)
    return error


class _WorkerLostError(DataError):
    """A process died, and with it joblib's pool."""


def _surviving(
    function: Callable[[T], R],
    items: Iterator[tuple[int, T]],
    count: int,
    names: Sequence[str],
    backend: str,
    timeout: float | None,
    deaths: int,
) -> Iterator[tuple[int, Any, Any]]:
    """Run ``_in_processes``; after a death, again on what was under way and the rest."""
    died: Counter[int] = Counter()
    left: Iterable[tuple[int, T]] = items
    while True:
        waiting: dict[int, T] = {}
        try:
            yield from _in_processes(function, left, count, names, backend, timeout, waiting)
            return
        except _WorkerLostError as error:
            died.update(list(waiting))
            if not waiting or max(died[index] for index in waiting) > deaths:
                raise
            logger.warning("%s; trying again", str(error).partition("; ")[0])
            left = itertools.chain(sorted(waiting.items(), key=lambda pair: pair[0]), items)


def _in_processes(
    function: Callable[[T], R],
    items: Iterable[tuple[int, T]],
    count: int,
    names: Sequence[str],
    backend: str,
    timeout: float | None,
    waiting: dict[int, T],
) -> Iterator[tuple[int, Any, Any]]:
    """Run ``_attempt`` on numbered items with joblib, ``count`` of them at a time.

    What is under way stands in ``waiting``.
    """
    import joblib

    folder = str(Path.cwd()) if backend == "loky" else ""
    if folder:
        _leave_other_folders(folder)

    def tasks() -> Iterator[Any]:
        for index, item in items:
            waiting[index] = item
            yield joblib.delayed(_attempt_from)(folder, os.getpid(), function, index, item)

    # Each process would otherwise start a thread per core.
    threads = {"inner_max_num_threads": 1} if backend == "loky" else {}
    with (
        _quiet(),
        joblib.parallel_config(backend=backend, n_jobs=count, **threads),
        _explained(waiting, names, timeout),
    ):
        parallel = joblib.Parallel(
            # One item per task, none queued ahead: what is under way can be named, and after a
            # failure nothing new begins.
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch=count,
            timeout=timeout,
        )
        with held_back():
            outcomes = parallel(tasks())
        for outcome in outcomes:
            waiting.pop(outcome[0], None)
            yield outcome


def _on_cluster(
    function: Callable[[T], R],
    items: Iterable[tuple[int, T]],
    workers: int,
    names: Sequence[str],
    backend: str,
    timeout: float | None,
) -> Iterator[tuple[int, Any, Any]]:
    """Run ``_attempt`` on numbered items in the workers of a cluster."""
    waiting: dict[int, T] = {}

    def tasks() -> Iterator[tuple[int, T]]:
        for index, item in items:
            waiting[index] = item
            yield index, item

    attempt = functools.partial(_attempt, function)
    with open_cluster(backend, workers) as cluster, _explained(waiting, names, timeout):
        for index, outcome, lost in cluster.spread(attempt, tasks(), timeout):
            waiting.pop(index, None)
            yield (index, None, ("", lost, "")) if lost else outcome


@contextlib.contextmanager
def _explained(
    waiting: dict[int, Any], names: Sequence[str], timeout: float | None
) -> Iterator[None]:
    """Name what was under way where the processes themselves failed."""
    try:
        yield
    except Exception as error:
        raise_if_interrupted(error)
        if isinstance(error, DetectionError):
            raise
        kind = _WorkerLostError if type(error).__name__ in _KILLED else DataError
        listed = ", ".join(names[index] for index in list(waiting)) or "no item"
        raise kind(_explain(error, listed, timeout)) from error


_BEGAN_IN: set[tuple[str, int, int]] = set()
"""The folder that loky's processes began in: its name and what tells it from a later one."""


def _leave_other_folders(folder: str) -> None:
    """End loky's idle processes that began in another folder.

    If it has been removed since, MKL ends the process that loads it there, and one that is still
    starting ends as well: https://github.com/InternLM/lmdeploy/issues/2258.
    """
    from joblib.externals.loky import get_reusable_executor

    state = Path(folder).stat()
    here = {(folder, state.st_dev, state.st_ino)}
    if _BEGAN_IN - here:
        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
        _BEGAN_IN.clear()
    _BEGAN_IN.update(here)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing where loky replaces a process that has grown by 300 MB: no item is lost.

    It warns in a thread of its own, which would end, and the work with it, where warnings are
    errors.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        yield


_KILLED = ("TerminatedWorkerError", "BrokenProcessPool")


def _explain(error: Exception, listed: str, timeout: float | None) -> str:
    """Say what became of the processes, and which items were under way."""
    if type(error).__name__ in _KILLED:
        return (
            f"{listed}: a worker process was killed while these were under way, perhaps "
            "for lack of memory; use fewer workers, or run again to continue"
        )
    if type(error).__name__ in {"FutureCancelledError", "CancelledError"}:
        return f"{listed}: the scheduler was lost while these were under way; run again to continue"
    if timeout is not None and type(error).__name__ == "TimeoutError":
        return f"{listed}: took longer than {timeout:g} s"
    return f"{listed}: {type(error).__name__}: {' '.join(str(error).split())}"
