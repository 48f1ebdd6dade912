"""Clusters of other libraries, Dask's and Ray's, behind one small interface."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from detection.errors import ConfigError
from detection.io.dask_cluster import dask_cluster
from detection.io.ray_cluster import ray_cluster

CLUSTERS = ("dask", "ray")
"""The backends that may reach other machines."""


class Cluster(Protocol):
    """Workers, perhaps of other machines, that a function is sent to."""

    def spread(
        self,
        function: Callable[[int, Any], Any],
        tasks: Iterable[tuple[int, Any]],
        timeout: float | None = None,
    ) -> Iterator[tuple[int, Any, str]]:
        """Yield (index, outcome, "") or (index, None, what became of the worker) as they come.

        The cluster gives the task of a worker that dies to another one, a bounded number of times.

        Args:
            function: called in a worker with the index and the item.
            tasks: index and item; only as many are taken as there are workers.
            timeout: seconds without any outcome; None waits for ever.

        Raises:
            TimeoutError: if there was none for so long.
        """


@contextlib.contextmanager
def open_cluster(backend: str, workers: int, address: str = "") -> Iterator[Cluster]:
    """Yield the cluster that is in use, or the one at an address, or one of local processes.

    Args:
        backend: ``dask`` or ``ray``.
        workers: how many to use, and to start where there is no cluster; 0 takes all there are,
            and starts one a core.
        address: of the scheduler; "" takes that of DASK_SCHEDULER_ADDRESS or RAY_ADDRESS.

    Raises:
        ConfigError: if the library is not installed, or nobody answers at the address.
    """
    try:
        library = importlib.import_module({"dask": "distributed", "ray": "ray"}[backend])
    except ImportError as error:
        message = (
            f"parallel: {backend} is not installed; pip install {backend}, or use processes of "
            "this machine"
        )
        raise ConfigError(message) from error
    opened = dask_cluster if backend == "dask" else ray_cluster
    with opened(library, workers, address) as cluster:
        yield cluster
