"""How many shards a second a scheduler hands out, and how busy it keeps 1, 2 and 64 workers.

A shard of 100 images is sent to a worker, does nothing or waits, writes its file, and its rows are
read at last: all that ``--parallel`` does, without the work. Workers are simulated: those of Dask
are threads of this process, those of Ray processes that share the cores here, so that 64 of them
fit; what is measured is what the scheduler and this process do for them. ``--out`` takes
scheduler_load.json, whose other lines stay, ``--page`` a Markdown file with marks for the table.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from marks import replace_between

from detection.io.files import write_json_atomic
from detection.io.shards import Parallel, Row, run_shards
from detection.runs.environment import describe_environment

IMAGES = 100
"""Of a shard, as ``--shard`` has it."""

KEPT = ("detection", "revision", "python", "processor", "cpu_count")
HEAD = (
    "| workers | shards a second | of which processor time here, each | time at work, shards of "
    "{wait:g} s | 100,000 shards | workers that shards of 351 s keep busy |"
)


def nothing(items: Sequence[Any]) -> list[Row]:
    """Return a row for each item."""
    return [{} for _ in items]


def wait(seconds: float, items: Sequence[Any]) -> list[Row]:
    """Return a row for each item after some seconds without work."""
    time.sleep(seconds)
    return nothing(items)


@contextlib.contextmanager
def simulated(kind: str, workers: int) -> Iterator[None]:
    """Have a cluster of so many workers in use, for whatever asks for one."""
    if kind == "dask":
        import dask
        import distributed

        # What workers do besides, elsewhere, would be done 64 times in this process.
        alone = {"distributed.worker.profile.enabled": False}
        alone |= {"distributed.admin.system-monitor.interval": "10s"}
        with (
            dask.config.set(alone),
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=False,
                dashboard_address=":0",
                silence_logs=logging.CRITICAL,
            ) as cluster,
            distributed.Client(cluster),
        ):
            yield
    elif kind == "ray":
        import ray

        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init("local", num_cpus=workers, include_dashboard=False, **quiet)
        try:
            yield
        finally:
            ray.shutdown()
    else:
        yield


def seconds_of(
    work: Callable[[Sequence[Any]], list[Row]], count: int, kind: str, workers: int
) -> float:
    """Return the seconds that so many shards take."""
    items = [(f"/data/images/part/{n:08d}.jpg", f"{n:08d}", f"{n:08d}.png") for n in range(IMAGES)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = run_shards(
            work,
            items * count,
            [path for path, *_ in items] * count,
            Path(folder),
            fingerprint="",
            parallel=Parallel(kind=kind, workers=workers, images=IMAGES),
            description=f"{kind}, {workers}",
        )
        if sum(1 for _ in rows) != count * IMAGES:
            raise SystemExit(f"{kind}, {workers}: expected {count * IMAGES} rows")
        return time.perf_counter() - start


def measure(kind: str, workers: int, shards: int, waiting: float) -> dict[str, Any]:
    """Measure one number of workers, after a round in which all of them start."""
    with simulated(kind, workers):
        slow = functools.partial(wait, waiting)
        seconds_of(slow, workers, kind, workers)
        own = time.process_time()
        empty = seconds_of(nothing, shards, kind, workers)
        own = time.process_time() - own
        rounds = 3
        full = seconds_of(slow, rounds * workers, kind, workers)
    return {
        "kind": kind,
        "workers": workers,
        "shards": shards,
        "shards_a_second": shards / empty,
        "own_ms_a_shard": 1e3 * own / shards,
        "wait_s": waiting,
        "busy": rounds * waiting / full,
    }


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the measurements as Markdown."""
    rows = [
        f"| {line['workers']}, {line['kind']} | {line['shards_a_second']:,.0f} "
        f"| {line['own_ms_a_shard']:.1f} ms "
        f"| {100 * line['busy']:.0f}% | {100_000 / line['shards_a_second'] / 60:.1f} min "
        f"| {351 * line['shards_a_second']:,.0f} |"
        for line in lines
    ]
    return "\n".join([HEAD.format(wait=lines[0]["wait_s"]), "|---" * 6 + "|", *rows])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kinds", nargs="+", default=["processes", "dask", "ray"])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 64])
    parser.add_argument("--shards", type=int, default=1000, help="that do nothing")
    parser.add_argument("--wait", type=float, default=2.0, help="seconds of the shards that wait")
    parser.add_argument("--out", type=Path, help="a folder for scheduler_load.json")
    parser.add_argument("--page", type=Path, help="put the table of that file between its marks")
    options = parser.parse_args()
    if options.page:
        stored = Path(__file__).parent / "results" / "scheduler_load.json"
        replace_between(options.page, "scheduler", table(json.loads(stored.read_text())["lines"]))
        return
    start, lines = time.perf_counter(), []
    for kind in options.kinds:
        for workers in options.workers:
            if kind == "processes" and workers > 2:
                continue  # they are no simulation
            lines.append(measure(kind, workers, options.shards, options.wait))
            print(json.dumps(lines[-1]), flush=True)
    if options.out:
        path = options.out / "scheduler_load.json"
        before = json.loads(path.read_text())["lines"] if path.exists() else []
        new = {(line["kind"], line["workers"]) for line in lines}
        lines = [*(b for b in before if (b["kind"], b["workers"]) not in new), *lines]
        described = describe_environment()
        result = {
            "command": " ".join(["python", "scripts/benchmarks/scheduler_load.py", *sys.argv[1:]]),
            "seconds": round(time.perf_counter() - start, 1),
            "environment": {key: described[key] for key in KEPT},
            "lines": lines,
        }
        write_json_atomic(path, result)


if __name__ == "__main__":
    main()
