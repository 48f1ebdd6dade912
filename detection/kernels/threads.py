"""Share the work of a kernel that releases the GIL out to threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def in_threads(work: Callable[[int, int], None], length: int, step: int = 1) -> None:
    """Call ``work(start, stop)`` for parts of ``range(length)``, one for each of torch's threads.

    The thread that calls does the last part itself.

    Args:
        work: must not touch what another part touches.
        length: of the whole.
        step: parts start at multiples of it.
    """
    pieces = -(-length // step)
    threads = min(torch.get_num_threads(), pieces)
    if threads <= 1:
        work(0, length)
        return
    edges = [min(length, pieces * i // threads * step) for i in range(threads + 1)]
    with ThreadPoolExecutor(threads - 1) as pool:
        others = pool.map(work, edges[:-2], edges[1:-1])
        work(edges[-2], edges[-1])
        # Takes the results, which raises what a thread raised.
        list(others)
