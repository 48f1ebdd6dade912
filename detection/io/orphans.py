"""Worker processes that end with the process that started them, however that ends."""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
import time

_LOOK = 1.0
"""Seconds between two looks for a parent that cannot be waited for."""


@functools.cache
def end_with_parent(parent: int = 0) -> None:
    """End this worker process when its parent ends: killed, a parent can end nobody.

    Only for processes that belong to one parent, not for those of a cluster.

    Args:
        parent: its process id, where multiprocessing does not know the parent.
    """
    threading.Thread(target=_follow, args=(parent,), name="parent", daemon=True).start()


def _follow(parent_id: int) -> None:
    parent = multiprocessing.parent_process()
    if not parent_id and parent is not None:
        parent.join()  # of a fork server's child it is not the parent of the system
    while parent_id and os.getppid() == parent_id:
        time.sleep(_LOOK)
    os._exit(1)
