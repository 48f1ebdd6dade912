"""How many shards a second a scheduler hands out, and how busy it keeps 1, 2 and 64 workers.

A shard of 100 images is sent to a worker, does nothing or waits, writes its file, and its rows are
read at last: all that ``--parallel`` does, without the work. Workers are simulated: those of Dask
are threads of this process, those of Ray processes that share the cores here, so that 64 of them
fit; what is measured is what the scheduler and this process do for them. Each number of workers is
measured in a process of its own, after a round in which all of them start: one that fails, or takes
longer than ``--limit``, is named and the others go on. ``--out`` takes scheduler_load.json, whose
other lines stay, ``--page`` a Markdown file with marks for the table.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
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

KINDS = ("processes", "dask", "ray")

ROUNDS = 3
"""Shards that wait, of each worker."""

START = 100.0
"""Seconds in which all workers have to do a first shard; those that have not are not waited for."""

KEPT = ("detection", "revision", "python", "processor", "cpu_count")
HEAD = (
    "| workers | shards a second | of which processor time here, each | time at work, shards of "
    "{wait:g} s | 100,000 shards | workers that shards of 351 s keep busy |"
)


def nothing(items: Sequence[Any]) -> list[Row]:
    """Return a row for each item."""
    return [{} for _ in items]


def wait(seconds: float, items: Sequence[Any]) -> list[Row]:
    """Return a row for each item after some seconds without work; it names the worker."""
    time.sleep(seconds)
    return [{"worker": f"{os.getpid()} {threading.get_ident()}"} for _ in items]


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

        # 64 processes begin on few cores: the last ones take longer than Ray grants by itself.
        os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        store = {"object_store_memory": 200 << 20}
        ray.init("local", num_cpus=workers, include_dashboard=False, **store, **quiet)
        try:
            yield
        finally:
            ray.shutdown()
    else:
        yield


def run(
    work: Callable[[Sequence[Any]], list[Row]], count: int, kind: str, workers: int
) -> tuple[float, list[Row]]:
    """Return the seconds that so many shards take, and their rows."""
    items = [(f"/data/images/part/{n:08d}.jpg", f"{n:08d}", f"{n:08d}.png") for n in range(IMAGES)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = list(
            run_shards(
                work,
                items * count,
                [path for path, *_ in items] * count,
                Path(folder),
                fingerprint="",
                parallel=Parallel(kind=kind, workers=workers, images=IMAGES),
                description=f"{kind}, {workers}",
            )
        )
        seconds = time.perf_counter() - start
    if len(rows) != count * IMAGES:
        raise SystemExit(f"{kind}, {workers}: expected {count * IMAGES} rows, got {len(rows)}")
    return seconds, rows


def start_workers(slow: Callable[[Sequence[Any]], list[Row]], kind: str, workers: int) -> int:
    """Hand out shards that wait until every worker has done one; return how many workers have."""
    start, seen = time.perf_counter(), set[str]()
    while len(seen) < workers and time.perf_counter() - start < START:
        _, rows = run(slow, workers, kind, workers)
        seen |= {row["worker"] for row in rows}
    return len(seen)


def measure(kind: str, workers: int, shards: int, waiting: float) -> dict[str, Any]:
    """Measure one number of workers, after all of them have started."""
    begun = time.perf_counter()
    with simulated(kind, workers):
        slow = functools.partial(wait, waiting)
        started = start_workers(slow, kind, workers)
        begun = time.perf_counter() - begun
        own = time.process_time()
        empty, _ = run(nothing, shards, kind, workers)
        own = time.process_time() - own
        full, _ = run(slow, ROUNDS * workers, kind, workers)
    return {
        "kind": kind,
        "workers": workers,
        "started": started,
        "start_s": begun,
        "shards": shards,
        "shards_a_second": shards / empty,
        "own_ms_a_shard": 1e3 * own / shards,
        "wait_s": waiting,
        "busy": ROUNDS * waiting / full,
    }


def measure_apart(options: argparse.Namespace, kind: str, workers: int) -> dict[str, Any] | None:
    """Measure in a process of its own; None, said on stderr, where that fails or takes too long."""
    line = [sys.executable, __file__, "--kinds", kind, "--workers", str(workers), "--here"]
    line += ["--shards", str(options.shards), "--wait", str(options.wait)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, start_new_session=True) as apart:
        try:
            said, _ = apart.communicate(timeout=options.limit)
        except subprocess.TimeoutExpired:
            os.killpg(apart.pid, signal.SIGKILL)
            print(f"{kind}, {workers}: took more than {options.limit:g} s", file=sys.stderr)
            return None
    if apart.returncode:
        print(f"{kind}, {workers}: ended with {apart.returncode}", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


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


def store(out: Path, lines: Sequence[dict[str, Any]], seconds: float) -> None:
    """Write the lines into scheduler_load.json, beside those of other kinds and numbers."""
    path = out / "scheduler_load.json"
    before = json.loads(path.read_text())["lines"] if path.exists() else []
    known = {(line["kind"], line["workers"]): line for line in [*before, *lines]}
    described = describe_environment()
    result = {
        "command": " ".join(["python", "scripts/benchmarks/scheduler_load.py", *sys.argv[1:]]),
        "seconds": round(seconds, 1),
        "environment": {key: described[key] for key in KEPT},
        "lines": [known[key] for key in sorted(known, key=lambda k: (KINDS.index(k[0]), k[1]))],
    }
    write_json_atomic(path, result)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 64])
    parser.add_argument("--shards", type=int, default=1000, help="that do nothing")
    parser.add_argument("--wait", type=float, default=2.0, help="seconds of the shards that wait")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds of each number")
    parser.add_argument("--out", type=Path, help="a folder for scheduler_load.json")
    parser.add_argument("--page", type=Path, help="put the table of that file between its marks")
    parser.add_argument("--here", action="store_true", help="measure in this process, print only")
    return parser.parse_args(words)


def main() -> None:
    """Measure, print and write."""
    options = parse()
    if options.page:
        stored = Path(__file__).parent / "results" / "scheduler_load.json"
        replace_between(options.page, "scheduler", table(json.loads(stored.read_text())["lines"]))
        return
    if options.here:
        (kind,), (workers,) = options.kinds, options.workers
        print(json.dumps(measure(kind, workers, options.shards, options.wait)), flush=True)
        return
    start, lines, failed = time.perf_counter(), list[dict[str, Any]](), 0
    for kind in options.kinds:
        for workers in options.workers:
            if kind == "processes" and workers > 2:
                continue  # they are no simulation
            if (line := measure_apart(options, kind, workers)) is None:
                failed += 1
                continue
            print(json.dumps(line), flush=True)
            lines.append(line)
            if options.out:
                store(options.out, lines, time.perf_counter() - start)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
