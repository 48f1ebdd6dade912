"""Images and their boxes, searched beside the network while it works.

Threads do it for the native backend, whose kernels leave the interpreter free and which need no
start; processes for OpenCV, which searches one image at a time in a process, and where a search
that takes too long must be ended.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection.config import Config, ProposalConfig
from detection.data.images import read_image
from detection.errors import DataError, DetectionError, ImageError
from detection.io.cores import count_workers
from detection.io.interrupts import held_back, uncovered
from detection.io.orphans import end_with_parent
from detection.proposals.dataset import check_backend
from detection.proposals.search import propose, resolve_backend

Found = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""Pixels and boxes: arrays travel between processes without shared memory, tensors need it."""


def search_ahead(
    paths: Sequence[Path], config: Config
) -> Iterator[tuple[Path, Found | ImageError]]:
    """Yield each image's pixels and proposals, or the error, in the order of the paths.

    Where one takes longer than ``proposals.time_limit`` the processes are ended; new ones go on
    with the next.

    Raises:
        DataError: naming the image in front, if a process was killed.
    """
    workers = max(1, min(count_workers(config.proposals.workers), len(paths)))
    left = deque(paths)
    alone = workers == 1 or resolve_backend(config.proposals) == "native"
    if alone and not config.proposals.time_limit:
        _prepare(config.proposals)
        with ThreadPoolExecutor(workers) as threads, _emptied(threads):
            yield from _until_late(threads, left, config, 2 * workers)
        return
    # A plain fork would copy a process whose threads, torch's among them, may hold locks that
    # nobody releases in the copy; the fork server has none, and starts faster than a new
    # interpreter.
    context = get_context("forkserver" if sys.platform != "win32" else "spawn")
    while left:
        with (
            ProcessPoolExecutor(
                workers, mp_context=context, initializer=_begin, initargs=(config.proposals,)
            ) as pool,
            _emptied(pool),
        ):
            with held_back():
                pool.submit(int)  # starts the processes
            yield from _until_late(pool, left, config, 2 * workers)


def _until_late(
    pool: Executor, left: deque[Path], config: Config, ahead: int
) -> Iterator[tuple[Path, Found | ImageError]]:
    """Take paths from the left and yield their proposals, up to the first that is late.

    The clock of an image runs while nothing but it is waited for: then a process has it.
    """
    limit = config.proposals.time_limit or None
    if limit:
        pool.submit(int).result()  # the start of the first process is not the first image's time
    futures: deque[Future[Found]] = deque()
    while left:
        while len(futures) < min(ahead, len(left)):
            task = (left[len(futures)], config.proposals, config.data.max_pixels)
            futures.append(pool.submit(find, *task))
        path = left.popleft()
        try:
            outcome: Found | ImageError = futures.popleft().result(timeout=limit)
        except ImageError as error:
            outcome = error
        except TimeoutError:
            _end(pool)
            message = (
                f"{path}: expected its boxes within {limit:g} s, got none; raise "
                "proposals.time_limit or set proposals.max_side"
            )
            yield path, ImageError(message)
            return
        except BrokenProcessPool as error:
            message = (
                f"{path}: the process that read it was killed, perhaps for lack of memory; "
                "use fewer proposals.workers"
            )
            raise DataError(message) from error
        yield path, outcome


def find(path: Path, config: ProposalConfig, max_pixels: int) -> Found:
    """Read one image and search its boxes, beside the network.

    Raises:
        ImageError: if the image cannot be read.
    """
    with uncovered():
        image = read_image(path, path.stem, max_pixels=max_pixels)
        return image.pixels.numpy(), propose(image, config).boxes.numpy()


def _prepare(config: ProposalConfig) -> None:
    """Import and compile before the first search; the search reports what is not installed."""
    with contextlib.suppress(DetectionError):
        check_backend(config)


def _begin(config: ProposalConfig) -> None:
    """Begin a process."""
    end_with_parent()
    _prepare(config)


@contextlib.contextmanager
def _emptied(pool: Executor) -> Iterator[None]:
    """Begin nothing more in a pool that is left early, as at Ctrl-C."""
    try:
        yield
    except BaseException:
        _end(pool)
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _end(pool: Executor) -> None:
    """End the processes of a pool at once; Python before 3.14 has no public way."""
    if isinstance(pool, ProcessPoolExecutor):
        for process in list(pool._processes.values()):
            process.kill()
