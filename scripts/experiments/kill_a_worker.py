"""Kill a worker of a cluster in the middle of its shard: the files must be those of one process.

``python scripts/experiments/kill_a_worker.py evaluate runs/mine --parallel dask ray --out runs/x``
runs the command in one process, then over local workers of each kind, one of which is killed
(SIGKILL) as soon as a first shard is done; it compares every file that they write, byte for byte,
and ends with a line for each kind. ``features`` writes no shards, but a file an image: there a
worker is killed once all of them together have written as many files as a shard has images. What
follows is passed on to the command: ``detect`` and ``features`` take their images so, all of them
their settings. Linux only.
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

from detection.inference.features import INDEX
from detection.io.files import sha256_of_file

WORKERS = ("spawn_main", "ray::")
"""How workers of Dask and of Ray are called."""

OWN = {"log.txt", "command.txt"}
"""Files that tell of the run itself: times, the command line."""

SHARDS = "shards/[0-9]*-*.jsonl"
"""What is written shard by shard."""

FILES = "*.safetensors"
"""What ``features`` writes instead."""


def words_of(verb: str, model: str, passed: Sequence[str]) -> list[str]:
    """Return the command, without where it writes."""
    if verb == "features":
        return [verb, *passed, "--run", model, "--features.device", "cpu"]
    return [verb, model, *passed, "--device", "cpu"]


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


def kill_a_worker(
    command: subprocess.Popen[bytes], out: Path, pattern: str, enough: int
) -> tuple[int, int]:
    """Kill a worker once enough files are there; return its process and how many there are then."""
    while command.poll() is None:
        if len(list(out.glob(pattern))) >= enough and (worker := busiest_worker(command.pid)):
            done = len(list(out.glob(pattern)))
            os.kill(worker, signal.SIGKILL)
            return worker, done
        time.sleep(0.1)
    raise SystemExit("expected a worker to kill, got none before the end; take more images")


def files(out: Path) -> dict[str, str]:
    """Return the hash of what was written, without the shards and what tells of the run itself."""
    return {
        path.relative_to(out).as_posix(): sha256_of_file(path)
        for path in out.rglob("*")
        if path.is_file() and path.parent.name != "shards" and path.name not in OWN
    }


def count_images(out: Path, verb: str) -> int:
    """Return how many images a result has."""
    if verb == "features":
        return len(json.loads((out / INDEX).read_text()))
    heads = (path.read_text().partition("\n")[0] for path in out.glob(SHARDS))
    return sum(json.loads(head)["rows"] for head in heads)


def main() -> None:
    """Run, kill and compare."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("verb", choices=("detect", "evaluate", "features"))
    parser.add_argument("model", help="a run folder")
    parser.add_argument("--parallel", nargs="+", choices=("dask", "ray"), default=["dask", "ray"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--expected", type=Path, help="what one process has written before")
    options, passed = parser.parse_known_args()
    words = words_of(options.verb, options.model, passed)
    if not options.expected:
        finish(start(words, options.out / "one"))
    expected, different = files(options.expected or options.out / "one"), 0
    by_file = options.verb == "features"
    pattern, unit, enough = (FILES, "files", options.shard) if by_file else (SHARDS, "shards", 1)
    lines = []
    for kind in options.parallel:
        out = options.out / kind
        shared = ["--parallel", kind, f"--workers={options.workers}", f"--shard={options.shard}"]
        command = start([*words, *shared], out)
        worker, done = kill_a_worker(command, out, pattern, enough)
        finish(command)
        found = files(out)
        unlike = [n for n in {*found, *expected} if found.get(n) != expected.get(n)]
        different += len(unlike)
        lines.append(
            f"{options.verb} over {kind}, {options.workers} workers: "
            f"{count_images(out, options.verb)} images, worker {worker} killed after {done} of "
            f"{len(list(out.glob(pattern)))} {unit}; {len(expected)} files of one "
            f"process, {len(unlike)} different{': ' if unlike else ''}{', '.join(sorted(unlike))}"
        )
    print("\n".join(lines))
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
