"""How many processes a machine takes."""

from __future__ import annotations

import os


def count_workers(workers: int) -> int:
    """Return the number of processes; 0 means one per core available to this process."""
    if workers > 0:
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
