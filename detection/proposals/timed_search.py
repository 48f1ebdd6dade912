"""A search that ends after its time: in a process of its own, which can be killed."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import torch
from numpy.typing import NDArray

from detection.config import ProposalConfig
from detection.errors import DataError, ImageError
from detection.io.image_errors import NO_MEMORY
from detection.io.interrupts import held_back, uncovered
from detection.io.orphans import end_with_parent
from detection.proposals.dataset import check_backend
from detection.proposals.search import propose
from detection.structures import Image, Proposals


class TimedSearch:
    """Finds the boxes of one image after the other, each in ``config.time_limit`` seconds.

    Args:
        config: how; without a time limit the search runs in this process.
        threads: of one search.
    """

    def __init__(self, config: ProposalConfig, threads: int = 1) -> None:
        self._config = config
        self._threads = threads
        self._pool: ProcessPoolExecutor | None = None
        self._one = threading.Lock()

    def start(self) -> None:
        """Start the process and compile in it, if it does not run: no image's time.

        Raises:
            DataError: if it ends.
        """
        if self._pool is not None or not self._config.time_limit:
            return
        # See search_ahead for why no plain fork.
        context = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
        self._pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=_begin, initargs=(self._config,)
        )
        with held_back():
            ready = self._pool.submit(int)
        try:
            ready.result()
        except BrokenProcessPool as error:
            self.close()
            message = f"proposals: expected a process that searches, got one that ended ({error})"
            raise DataError(message) from error

    def propose(self, image: Image) -> Proposals:
        """Return what `propose` returns.

        Raises:
            ImageError: if it takes too long.
            DataError: if memory does not suffice.
        """
        limit = self._config.time_limit
        if not limit:
            return propose(image, self._config, threads=self._threads)
        with self._one:
            self.start()
            return self._wait(image, limit)

    def _wait(self, image: Image, limit: float) -> Proposals:
        if self._pool is None:
            raise RuntimeError
        pixels = image.pixels.cpu().contiguous().numpy()
        try:
            future = self._pool.submit(_find, image.image_id, pixels, self._config, self._threads)
            boxes = future.result(timeout=limit)
        except TimeoutError as error:
            self.close()
            message = (
                f"{image.image_id}: expected its boxes within {limit:g} s, got none; make the "
                "image smaller, raise proposals.time_limit or set proposals.max_side"
            )
            raise ImageError(message) from error
        except BrokenProcessPool as error:
            self.close()
            message = f"{image.image_id}: the process that searched it was killed: {NO_MEMORY}"
            raise DataError(message) from error
        return Proposals(image_id=image.image_id, boxes=torch.from_numpy(boxes))

    def close(self) -> None:
        """End the process at once; the next search starts another."""
        pool, self._pool = self._pool, None
        if pool is not None:
            for process in list(pool._processes.values()):
                process.kill()
            pool.shutdown(cancel_futures=True)


def _begin(config: ProposalConfig) -> None:
    """Begin a process."""
    end_with_parent()
    check_backend(config)


def _find(
    name: str, pixels: NDArray[np.uint8], config: ProposalConfig, threads: int
) -> NDArray[np.float32]:
    """Search in the process."""
    with uncovered():
        image = Image(image_id=name, pixels=torch.from_numpy(pixels))
        return propose(image, config, threads=threads).boxes.numpy()
