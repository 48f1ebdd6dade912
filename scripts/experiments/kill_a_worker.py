"""Kill a worker of a cluster in the middle of its shard: the files must be those of one process.

``python scripts/experiments/kill_a_worker.py evaluate runs/mine --parallel dask ray --out runs/x``
runs the command in one process, then over local workers of each kind, one of which is killed
(SIGKILL) as soon as a first shard is done; it compares every file that they write, byte for byte,
and ends with a line for each kind. What follows is passed on to the command: ``detect`` takes its
images so, both their settings. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from processes import descendants, ticks, told

WORKERS = ("spawn_main", "ray::")
"""How workers of Dask and of Ray are called."""

OWN = {"log.txt", "command.txt"}
"""Files that tell of the run itself: times, the command line."""


def busiest_worker(command: int) -> int | None:
    """Return the worker that computes most in a second; None where none does."""
    workers = []
    for process in descendants(command):
        if any(name in told(process, "cmdline") for name in WORKERS):
            workers.append(process)
    before = {process: ticks(process) for process in workers}
    time.sleep(1)
    done = {process: ticks(process) - before[process] for process in workers}
    best = max(done, key=lambda process: done[process], default=None)
    return best if best is not None and done[best] > 0 else None


def start(words: Sequence[str], out: Path) -> subprocess.Popen[bytes]:
    """Start the command on one thread, in a process that workers of a cluster inherit it from."""
    line = [sys.executable, "-m", "detection", *words, "--out", str(out)]
    return subprocess.Popen(line, env=os.environ | {"OMP_NUM_THREADS": "1"})


def finish(command: subprocess.Popen[bytes]) -> None:
    """Wait for the command.

    Raises:
        SystemExit: where it fails; 1 says that an image could not be read.
    """
    if command.wait() not in {0, 1}:
        raise SystemExit(f"expected exit code 0, got {command.returncode}")


def kill_a_worker(command: subprocess.Popen[bytes], out: Path) -> tuple[int, int]:
    """Kill a worker once a shard is done; return its process and the number of shards then."""
    while command.poll() is None:
        done = len(list((out / "shards").glob("[0-9]*-*.jsonl")))
        if done and (worker := busiest_worker(command.pid)):
            os.kill(worker, signal.SIGKILL)
            return worker, done
        time.sleep(0.1)
    raise SystemExit("expected a worker to kill, got none before the end; take more images")


def files(out: Path) -> dict[str, bytes]:
    """Return what was written, without the shards and what tells of the run itself."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.parent.name != "shards" and path.name not in OWN
    }


def images_and_shards(out: Path) -> tuple[int, int]:
    """Return how many images the shards of a result have, and how many shards there are."""
    shards = list((out / "shards").glob("[0-9]*-*.jsonl"))
    return sum(json.loads(path.open().readline())["rows"] for path in shards), len(shards)


def main() -> None:
    """Run, kill and compare."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("verb", choices=("detect", "evaluate"))
    parser.add_argument("model", help="a run folder")
    parser.add_argument("--parallel", nargs="+", choices=("dask", "ray"), default=["dask", "ray"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--expected", type=Path, help="what one process has written before")
    options, passed = parser.parse_known_args()
    words = [options.verb, options.model, *passed, "--device", "cpu"]
    if not options.expected:
        finish(start(words, options.out / "one"))
    expected, different = files(options.expected or options.out / "one"), 0
    lines = []
    for kind in options.parallel:
        out = options.out / kind
        shared = ["--parallel", kind, f"--workers={options.workers}", f"--shard={options.shard}"]
        command = start([*words, *shared], out)
        worker, done = kill_a_worker(command, out)
        finish(command)
        found = files(out)
        unlike = [n for n in {*found, *expected} if found.get(n) != expected.get(n)]
        different += len(unlike)
        images, shards = images_and_shards(out)
        lines.append(
            f"{options.verb} over {kind}, {options.workers} workers: {images} images, worker "
            f"{worker} killed after {done} of {shards} shards; {len(expected)} files of one "
            f"process, {len(unlike)} different{': ' if unlike else ''}{', '.join(sorted(unlike))}"
        )
    print("\n".join(lines))
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
