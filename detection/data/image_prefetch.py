"""Prefetch images ahead of the network."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from detection.data.images import read_image
from detection.errors import ImageError
from detection.structures import Image, Record

_LOG = logging.getLogger(__name__)


def read_ahead(records: Sequence[Record], *, max_pixels: int, depth: int = 2) -> Iterator[Image]:
    """Yield each record's image in order, prefetching a few in a background thread.

    Args:
        records: which images.
        max_pixels: limit of the image reader.
        depth: how many to read ahead.

    Raises:
        ImageError: where the iteration reaches an image that cannot be read.
    """
    for waiting in _submit_ahead(records, max_pixels, depth):
        yield waiting.result()


def read_ahead_or_none(
    records: Sequence[Record], *, max_pixels: int, depth: int = 2
) -> Iterator[Image | None]:
    """Do what `read_ahead` does, but return None for an image that cannot be read, and log it."""
    for waiting in _submit_ahead(records, max_pixels, depth):
        try:
            yield waiting.result()
        except ImageError as error:
            _LOG.warning("%s", error)
            yield None


def _submit_ahead(
    records: Sequence[Record], max_pixels: int, depth: int
) -> Iterator[Future[Image]]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[Future[Image]] = deque()
        for record in records:
            waiting.append(
                pool.submit(read_image, record.path, record.image_id, max_pixels=max_pixels)
            )
            if len(waiting) > depth:
                yield waiting.popleft()
        yield from waiting
