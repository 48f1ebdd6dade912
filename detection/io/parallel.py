"""Map a function over items in several processes; every failure names its item."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from detection.errors import CheckpointError, ConfigError, DataError, DetectionError, ImageError
from detection.io.dask_cluster import dask_cluster, watched
from detection.io.image_errors import NO_MEMORY
from detection.io.interrupts import held_back, raise_if_interrupted
from detection.io.orphans import end_with_parent

T = TypeVar("T")
R = TypeVar("R")

_KINDS: dict[str, type[DetectionError]] = {
    kind.__name__: kind
    for kind in (DetectionError, ConfigError, DataError, ImageError, CheckpointError)
}


class WorkerTraceback(Exception):  # noqa: N818
    """Where in a worker an exception came from, as text."""


def resolve_workers(workers: int) -> int:
    """Return the number of processes; 0 means one per core available to this process."""
    if workers > 0:
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel_map(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    workers: int,
    names: Sequence[str],
    backend: str = "loky",
    timeout: float | None = None,
    on_error: Callable[[int, ImageError], None] | None = None,
) -> Iterator[tuple[int, R]]:
    """Yield (index of the item, result) as the results come in.

    Args:
        function: of a module's top level, so that a process can find it.
        items: what it is called with.
        workers: processes; 1 stays in this one, 0 takes one per core.
        names: of the items, for the messages.
        backend: of joblib: ``loky`` (processes), ``threading``, ``dask`` (the cluster of the
            current client, or of DASK_SCHEDULER_ADDRESS, or ``workers`` local processes) or
            ``ray``.
        timeout: seconds that one item may take; None waits for ever.
        on_error: called with (index, error) for each image that is itself at fault, and the rest
            goes on; None raises the first failure, as any other error is raised.

    Raises:
        DetectionError: of the item's own kind, or DataError for any other exception, for a process
            that was killed and for one that took too long; the message names the item.
        KeyboardInterrupt: at Ctrl-C, in whichever process.
    """
    count = min(resolve_workers(workers), max(len(items), 1))
    stop = threading.Event()
    tasks = _until(stop, enumerate(items))
    outcomes: Iterator[tuple[int, Any, Any]]
    if count == 1:
        outcomes = (_attempt(function, index, item) for index, item in tasks)
    else:
        outcomes = _in_processes(function, tasks, count, names, backend, timeout)
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
    """Attempt it in a folder: loky keeps its processes, and each the folder that it began in."""
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


def _in_processes(
    function: Callable[[T], R],
    items: Iterable[tuple[int, T]],
    count: int,
    names: Sequence[str],
    backend: str,
    timeout: float | None,
) -> Iterator[tuple[int, Any, Any]]:
    """Run ``_attempt`` on numbered items with joblib, ``count`` of them at a time."""
    import joblib

    waiting: dict[int, str] = {}
    folder = str(Path.cwd()) if backend == "loky" else ""

    def tasks() -> Iterator[Any]:
        for index, item in items:
            waiting[index] = names[index]
            yield joblib.delayed(_attempt_from)(folder, os.getpid(), function, index, item)

    # Each process would otherwise start a thread per core.
    threads = {"inner_max_num_threads": 1} if backend == "loky" else {}
    with (
        _cluster(backend, count) as client,
        _quiet(),
        joblib.parallel_config(backend=backend, n_jobs=count, **threads),
    ):
        parallel = joblib.Parallel(
            # One item per task, none queued ahead: what is under way can be named, and after a
            # failure nothing new begins.
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch=count,
            timeout=timeout,
        )
        try:
            with held_back():
                outcomes = parallel(tasks())
            if client is not None:
                outcomes = watched(outcomes, client)
            for outcome in outcomes:
                waiting.pop(outcome[0], None)
                yield outcome
        except Exception as error:
            raise_if_interrupted(error)
            if isinstance(error, DetectionError):
                raise
            raise DataError(_explain(error, waiting, timeout)) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing where loky replaces a process that has grown by 300 MB: no item is lost.

    It warns in a thread of its own, which would end, and the work with it, where warnings are
    errors.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        yield


@contextlib.contextmanager
def _cluster(backend: str, count: int) -> Iterator[Any]:
    """Make the backends of other libraries known to joblib, and start a cluster if there is none.

    Yields Dask's client; None for the others.

    Raises:
        ConfigError: if the library is not installed.
    """
    if backend not in {"dask", "ray"}:
        yield None
        return
    try:
        library = importlib.import_module(
            {"dask": "distributed", "ray": "ray.util.joblib"}[backend]
        )
    except ImportError as error:
        message = (
            f"proposals.parallel: {backend} is not installed; pip install {backend}, or use loky"
        )
        raise ConfigError(message) from error
    if backend == "ray":
        library.register_ray()
        yield None
        return
    with dask_cluster(library, count) as client:
        yield client


def _explain(error: Exception, waiting: dict[int, str], timeout: float | None) -> str:
    """Say which items were under way when the processes themselves failed."""
    if type(error).__name__ in {"TerminatedWorkerError", "BrokenProcessPool"}:
        return (
            f"{_list(waiting)}: a worker process was killed while these were under way, perhaps "
            "for lack of memory; use fewer workers, or run again to continue"
        )
    if type(error).__name__ in {"FutureCancelledError", "CancelledError"}:
        return (
            f"{_list(waiting)}: the scheduler was lost while these were under way; run again to "
            "continue"
        )
    if timeout is not None and type(error).__name__ == "TimeoutError":
        return f"{_list(waiting)}: took longer than {timeout:g} s"
    return f"{_list(waiting)}: {type(error).__name__}: {' '.join(str(error).split())}"


def _list(waiting: dict[int, str]) -> str:
    """Name the items that are under way."""
    return ", ".join(waiting.values()) or "no item"
