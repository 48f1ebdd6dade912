"""One thread that works through a bounded queue, so that memory and order stay under control."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class QueueFullError(Exception):
    """No place in the queue; ``retry_after`` is the number of seconds until one may be free."""

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
        self._jobs: queue.Queue[tuple[Job, Future[Result]] | None] = queue.Queue(places)
        self._last_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self._jobs.qsize()

    def submit(self, job: Job) -> Future[Result]:
        """Queue a job; a cancelled future is skipped when its turn comes.

        Raises:
            QueueFullError: if no place is free.
        """
        future: Future[Result] = Future()
        try:
            self._jobs.put_nowait((job, future))
        except queue.Full:
            raise QueueFullError(max(1, math.ceil(self._last_seconds))) from None
        return future

    def close(self) -> None:
        """Cancel what waits; the job in work is finished, and nothing follows it."""
        while True:
            try:
                entry = self._jobs.get_nowait()
            except queue.Empty:
                break
            if entry is not None:
                entry[1].cancel()
        self._jobs.put(None)

    def _run(self) -> None:
        while (entry := self._jobs.get()) is not None:
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
            del entry, job, future
