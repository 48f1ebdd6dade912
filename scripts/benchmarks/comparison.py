"""Time alternatives of one step in one process: alternating repeats, medians, the same input."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One line of the result: ``ratio`` is how many times faster ours is, ``reach`` the goal."""

    step: str
    ours: str
    against: str
    ours_s: float
    against_s: float
    ratio: float
    reach: float
    max_difference: float


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A named way to do the step, and how many times faster than the reference it should be.

    Attributes:
        name: of the way.
        run: does the step, timed.
        reach: the goal.
        before: called before each run, not timed.
    """

    name: str
    run: Callable[[], Any]
    reach: float = 1.0
    before: Callable[[], None] = lambda: None


def compare(
    step: str,
    against: Candidate,
    candidates: Sequence[Candidate],
    difference: Callable[[Any, Any], float],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Comparison]:
    """Run everything once to warm up, then in turn ``repeats`` times; return the medians.

    No result is held while the clock runs: memory is used again, as it is from image to image.
    ``time.thread_time`` as the clock leaves out what other work takes of the processor.
    """
    ways = [against, *candidates]
    expected = against.run()
    differences = [difference(way.run(), expected) for way in candidates]
    del expected
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(repeats):
        for way, record in zip(ways, seconds, strict=True):
            way.before()
            start = clock()
            way.run()
            record.append(clock() - start)
    reference, *medians = [statistics.median(record) for record in seconds]
    return [
        Comparison(
            step=step,
            ours=way.name,
            against=against.name,
            ours_s=median,
            against_s=reference,
            ratio=reference / median,
            reach=way.reach,
            max_difference=its,
        )
        for way, median, its in zip(candidates, medians, differences, strict=True)
    ]


def parse(description: str, **defaults: int) -> argparse.Namespace:
    """Read the sizes, ``--threads`` and ``--json`` from the command line, and set the threads."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument("--threads", type=int, default=min(2, cores or 1))
    parser.add_argument("--json", action="store_true", help="one JSON object a comparison")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options


def report(comparisons: Sequence[Comparison], options: argparse.Namespace, setting: str) -> None:
    """Print a table, or JSON lines."""
    if options.json:
        for comparison in comparisons:
            print(json.dumps(asdict(comparison)))
        return
    print(f"{setting}; {options.threads} threads, torch {torch.__version__}, medians")
    print(f"{'ours':34} {'ms':>9} {'ratio':>7} {'goal':>6} {'max difference':>15}")
    for c in comparisons:
        row = f"{c.ours:34} {1e3 * c.ours_s:9.2f} {c.ratio:6.1f}x {c.reach:5.1f}x"
        print(f"{row} {c.max_difference:15.2g}")
    print(f"{comparisons[0].against:34} {1e3 * comparisons[0].against_s:9.2f}   (the reference)")


def image_parser(description: str, num_images: int) -> argparse.ArgumentParser:
    """Return the argument parser of a script that reads images."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("--num-images", type=int, default=num_images)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="one JSON object a comparison")
    return parser


def show(comparisons: Sequence[Comparison], as_json: bool, unit: str = "s") -> None:
    """Print a line a comparison; ``unit`` is that of ``ours_s`` and ``against_s``."""
    for c in comparisons:
        text = f"{c.step}: {c.ours} {c.ours_s:.4g} {unit}, {c.against} {c.against_s:.4g} {unit}, "
        text += f"{c.ratio:.2f}x (goal {c.reach:g}x), difference {c.max_difference:.2g}"
        print(json.dumps(asdict(c)) if as_json else text)
