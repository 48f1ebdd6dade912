"""Work on many images as shards: a list of images each, whose rows are a file of its own.

A shard's file is written by the worker that did it, at once and whole, under a name that says what
it depends on. Whatever ends the work, the next run does only the shards that are missing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from detection.errors import DataError, require
from detection.io.clusters import CLUSTERS, open_cluster
from detection.io.files import remove_leftovers, sha256_of_bytes, write_text_atomic
from detection.io.parallel import parallel_map
from detection.io.progress import track

logger = logging.getLogger(__name__)

Kind = Literal["none", "processes", "dask", "ray"]
Row = dict[str, Any]

DEATHS = 2
"""How often a shard is tried again after its worker died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """Where shards are worked on.

    Attributes:
        kind: ``processes`` of this machine, or a cluster of ``dask`` or ``ray``.
        workers: how many; 0 takes one a core, or all of a cluster.
        scheduler: address of the cluster; "" takes DASK_SCHEDULER_ADDRESS or RAY_ADDRESS, and
            without these starts local workers.
        images: how many a shard has.
    """

    kind: Kind = "none"
    workers: int = 0
    scheduler: str = ""
    images: int = 100

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self.workers >= 0, "--workers", "a number of 0 or more", self.workers)
        require(self.images > 0, "--shard", "a number of 1 or more", self.images)
        cluster = not self.scheduler or self.kind in CLUSTERS
        require(cluster, "--scheduler", "--parallel dask or ray with it", self.kind)

    @property
    def backend(self) -> str:
        """What ``parallel_map`` calls it."""
        return "loky" if self.kind == "processes" else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Images that one worker takes together.

    Attributes:
        path: of its file.
        key: SHA-256 of everything that its rows depend on.
        items: one for each row.
    """

    path: Path
    key: str
    items: tuple[Any, ...]


@contextlib.contextmanager
def connected(parallel: Parallel) -> Iterator[None]:
    """Keep one cluster open for several stages; nothing for processes.

    Raises:
        ConfigError: if its library is not installed, or nobody answers.
    """
    if parallel.kind not in CLUSTERS:
        yield
        return
    with open_cluster(parallel.kind, parallel.workers, parallel.scheduler):
        yield


def run_shards(
    work: Callable[[Sequence[Any]], Iterable[Row]],
    items: Sequence[Any],
    keys: Sequence[str],
    folder: Path,
    *,
    fingerprint: str,
    parallel: Parallel,
    description: str,
    reuse: Callable[[Sequence[Any], Iterable[Row]], bool] | None = None,
) -> Iterator[Row]:
    """Yield one row for each item, in order, after all shards that ``folder`` lacks are done.

    Args:
        work: sent to the workers; takes items and returns a row for each, in order.
        items: what it takes.
        keys: what each item's row depends on, such as the time of its file.
        folder: of the shards, which nothing else uses.
        fingerprint: of all else that rows depend on, such as the model.
        parallel: where.
        description: of the work, for the progress.
        reuse: called with the items and rows of each shard that is there already; where it returns
            False, the shard is done again.

    Raises:
        DataError: naming the shard, if its workers died again and again; as the work itself
            raises.
    """
    remove_leftovers(folder)
    shards = split(items, keys, folder, fingerprint, parallel.images)
    missing = [
        shard
        for shard in shards
        if not is_complete(shard) or (reuse and not reuse(shard.items, read_shard(shard)))
    ]
    if len(missing) < len(shards):
        there = len(shards) - len(missing)
        logger.info("%s: %d of %d shards are there already", description, there, len(shards))
    outcomes = parallel_map(
        functools.partial(run_shard, work),
        missing,
        workers=parallel.workers,
        backend=parallel.backend,
        names=[shard.path.name for shard in missing],
        deaths=DEATHS,
    )
    # Counted by shards: the first image of one would be seen after the time of all of them.
    for _ in track(outcomes, len(missing), f"{description}, shards"):
        pass
    remove_leftovers(folder)  # of workers that were killed
    _remove_others(folder, shards)
    for shard in shards:
        yield from read_shard(shard)


def split(
    items: Sequence[Any], keys: Sequence[str], folder: Path, fingerprint: str, size: int
) -> list[Shard]:
    """Return the shards of a list of items.

    Args:
        items: all of them.
        keys: what each one's row depends on.
        folder: of the files, made absolute for workers of other folders.
        fingerprint: of all else.
        size: items of a shard.
    """
    shards = []
    for number, start in enumerate(range(0, len(items), size)):
        part = slice(start, start + size)
        key = sha256_of_bytes(json.dumps([fingerprint, *keys[part]]).encode())
        path = folder.absolute() / f"{number:06d}-{key[:16]}.jsonl"
        shards.append(Shard(path=path, key=key, items=tuple(items[part])))
    return shards


def file_key(path: Path, *also: str) -> str:
    """Return what a row depends on of its image's file: name, size and time of the last change.

    Args:
        path: of the image.
        *also: what else the row holds.
    """
    try:
        state = os.stat(path)  # noqa: PTH116 - of millions of files
        stamp = [state.st_size, state.st_mtime_ns]
    except OSError:
        stamp = []
    return json.dumps([str(path), *stamp, *also])


def run_shard(work: Callable[[Sequence[Any]], Iterable[Row]], shard: Shard) -> int:
    """Write the rows of one shard, in a worker; return how many they are."""
    lines = [json.dumps(row) + "\n" for row in work(shard.items)]
    body = "".join(lines)
    header = {"key": shard.key, "rows": len(lines), "bytes": len(body)}
    write_text_atomic(shard.path, json.dumps(header) + "\n" + body)
    return len(lines)


def is_complete(shard: Shard) -> bool:
    """Return whether a shard's file is there, of this key and of its full length."""
    try:
        with shard.path.open("rb") as file:
            first = file.readline(1 << 12)
        header = json.loads(first)
        size = shard.path.stat().st_size
        return bool(header["key"] == shard.key and size == len(first) + header["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_shard(shard: Shard) -> list[Row]:
    """Return the rows of a shard.

    Raises:
        DataError: if the file is not there or damaged.
    """
    try:
        _, *lines = shard.path.read_bytes().splitlines()
        rows = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        message = f"{shard.path}: expected the rows of a shard, got {error}; remove it, run again"
        raise DataError(message) from error
    if len(rows) != len(shard.items):
        message = (
            f"{shard.path}: expected {len(shard.items)} rows, got {len(rows)}; remove it, run again"
        )
        raise DataError(message)
    return rows


def _remove_others(folder: Path, shards: Sequence[Shard]) -> None:
    """Remove the shards of other models, settings and lists."""
    ours = {shard.path.name for shard in shards}
    for path in folder.glob("[0-9]*-*.jsonl"):
        if path.name not in ours:
            path.unlink(missing_ok=True)
