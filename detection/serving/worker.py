"""One thread that works through a bounded queue, so that memory and order stay under control."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class QueueFullError(Exception):
    """The queue is full; ``retry_after`` is the number of seconds until one may be free."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class Worker(Generic[Job, Result]):
    """Does one job after the other, in the order in which they came.

    Args:
        work: what is done with each job.
        places: how many jobs may wait besides the one that is worked on.
    """

    def __init__(self, work: Callable[[Job], Result], places: int) -> None:
        self.places = places
        self._work = work
        self._jobs: deque[tuple[Job, Future[Result]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._last_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait; those whose future was cancelled do not."""
        with self._changed:
            return self._count()

    def submit(self, job: Job) -> Future[Result]:
        """Queue a job; cancelling the future frees its slot. A closed worker cancels it at once.

        Raises:
            QueueFullError: if no slot is free.
        """
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                future.cancel()
                return future
            if self._count() >= self.places:
                raise QueueFullError(max(1, math.ceil(self._last_seconds)))
            self._jobs.append((job, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Cancel what waits; the job in work is finished, and nothing follows it."""
        with self._changed:
            self._closed = True
            for _, future in self._jobs:
                future.cancel()
            self._changed.notify()

    def _count(self) -> int:
        """Forget what was cancelled, and count the rest."""
        for entry in [entry for entry in self._jobs if entry[1].cancelled()]:
            self._jobs.remove(entry)
        return len(self._jobs)

    def _next(self) -> tuple[Job, Future[Result]] | None:
        """Wait for a job; None once the worker is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._jobs))
            return None if self._closed else self._jobs.popleft()

    def _run(self) -> None:
        while (entry := self._next()) is not None:
            job, future = entry
            if not future.set_running_or_notify_cancel():
                continue
            start = time.perf_counter()
            try:
                result = self._work(job)
            except Exception as error:  # it belongs to whoever waits for the future
                future.set_exception(error)
            else:
                future.set_result(result)
            self._last_seconds = time.perf_counter() - start
            del entry, job, future  # frees the image while nothing comes
