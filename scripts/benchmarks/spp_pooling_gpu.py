"""The part of ``spp_pooling.py`` that runs on a GPU: ``spp_pooling.py --cuda 1``.

Each way is timed twice with CUDA events: as it is called, where the processor may not keep up with
so short a kernel, and as a CUDA graph, which is the GPU's own time. The memory floor writes an
output of the same size and reads the map; with gradients, it also reads those of the output and
writes those of the map.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from comparison import Comparison, report
from pooling_cases import LEVELS, MAPS, make_windows, pool_with_torchvision
from torch import Tensor

from detection.features import pyramid

CALLS = 20
"""Calls between two events: one is as short as what events can tell."""

Way = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One map with its windows, and what the processor makes of it."""

    values: Tensor
    windows: Tensor
    gradient: Tensor
    backward: bool

    @property
    def name(self) -> str:
        """Return the line's first column."""
        size = "x".join(str(n) for n in self.values.shape)
        kind = "bfloat16" if self.values.dtype == torch.bfloat16 else "float32"
        return f"SPP pooling on a GPU {size}, {kind}, forward{' and backward' * self.backward}"


def ways() -> dict[str, Way]:
    """Return the ways to pool, the reference first."""
    found: dict[str, Way] = {
        "torchvision.ops.roi_pool, 4 levels": lambda v, w: pool_with_torchvision(v.float(), w),
        "pyramid_pool": lambda v, w: pyramid.pyramid_pool(v, w, LEVELS),
        "pyramid_pool, bin-major": lambda v, w: pyramid.pyramid_pool(
            v, w, LEVELS, layout="bin_major"
        ),
        "pyramid_pool, torch operations": lambda v, w: pyramid.pool_with_torch(
            v, w, LEVELS, "paper"
        ),
    }
    try:
        from detection.features import triton_pyramid
    except ImportError:
        return found

    def narrow(values: Tensor, windows: Tensor) -> Tensor:
        with channel_a_thread(triton_pyramid):
            return pyramid.pyramid_pool(values, windows, LEVELS)

    return {**found, "pyramid_pool, one channel a thread": narrow}


@contextmanager
def channel_a_thread(triton_pyramid: object) -> Iterator[None]:
    """Let the kernel take one channel a thread, which has fewer bytes in flight a warp."""
    before = triton_pyramid.WIDEST_SIDE
    triton_pyramid.WIDEST_SIDE = 0
    try:
        yield
    finally:
        triton_pyramid.WIDEST_SIDE = before


def step_of(way: Way, case: Case) -> Callable[[], Tensor]:
    """Return a call that pools once, and gives the result or the gradient of the map."""
    if not case.backward:
        return lambda: way(case.values, case.windows)

    def run() -> Tensor:
        values = case.values.detach().requires_grad_()
        return torch.autograd.grad(way(values, case.windows), values, case.gradient)[0]

    return run


def floor_of(case: Case) -> Callable[[], Tensor]:
    """Return a call that moves the bytes that have to move."""
    out, kept = torch.empty_like(case.gradient), torch.empty_like(case.values)
    spread = torch.empty_like(case.values, dtype=torch.float32)

    def run() -> Tensor:
        out.fill_(1.0)
        kept.copy_(case.values)
        if case.backward:
            spread.zero_()
            return case.gradient.sum()
        return out

    return run


def as_called(run: Callable[[], Tensor], repeats: int) -> float:
    """Measure seconds a call."""
    if not torch.cuda.is_available():
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    seconds = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(CALLS):
            run()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1e3 / CALLS)
    return statistics.median(seconds)


def on_the_device(run: Callable[[], Tensor], repeats: int) -> float | None:
    """Measure seconds a call without the processor; None where no graph can be captured.

    A way that waits for the GPU cannot be captured.
    """
    if not torch.cuda.is_available():
        return None
    try:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(CALLS):
                run()
        graph.replay()
        torch.cuda.synchronize()
    except Exception as error:
        print(f"no graph: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        return None
    return as_called(graph.replay, repeats) / CALLS


def compare_ways(case: Case, expected: Tensor, repeats: int) -> list[Comparison]:
    """Time all ways; a way that fails is said and left out."""
    seconds: dict[str, tuple[float, float | None]] = {}
    differences: dict[str, float] = {}
    runs = {name: step_of(way, case) for name, way in ways().items()}
    runs["memory floor"] = floor_of(case)
    for name, run in runs.items():
        try:
            result = run()
            if result.shape == expected.shape and "bin-major" not in name:
                differences[name] = float((result.cpu().float() - expected).abs().max())
            del result
            for _ in range(3):
                run()
            seconds[name] = as_called(run, repeats), on_the_device(run, repeats)
        except Exception as error:
            print(f"{case.name}, {name}: {type(error).__name__}: {error}", file=sys.stderr)
    return [
        line
        for against, reach in (("torchvision.ops.roi_pool, 4 levels", 3.0), ("memory floor", 1 / 3))
        for line in lines_of(case.name, seconds, differences, against, reach)
    ]


def lines_of(
    step: str,
    seconds: dict[str, tuple[float, float | None]],
    differences: dict[str, float],
    against: str,
    reach: float,
) -> list[Comparison]:
    """Return a line for each way and each clock; only ``pyramid_pool`` itself has a goal."""
    lines = []
    for index, clock in enumerate((", as called", ", GPU time")):
        reference = seconds.get(against, (None, None))[index]
        for name, found in seconds.items():
            ours = found[index]
            if reference is None or ours is None or not name.startswith("pyramid_pool"):
                continue
            lines.append(
                Comparison(
                    step=step,
                    ours=name + clock,
                    against=against + clock,
                    ours_s=ours,
                    against_s=reference,
                    ratio=reference / ours,
                    reach=reach if name == "pyramid_pool" else 0.0,
                    max_difference=differences.get(name, 0.0),
                )
            )
    return lines


def measure_on_gpu(options: argparse.Namespace, device: str = "cuda") -> None:
    """Measure and print."""
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("--cuda: expected a CUDA device, got none; leave it out to measure the processor")
    name = torch.cuda.get_device_name() if device == "cuda" else device
    generator = torch.Generator().manual_seed(0)
    for channels, rows, columns in MAPS:
        values = torch.randn(rows, columns, channels, generator=generator).relu().permute(2, 0, 1)
        windows = make_windows(options.rois, rows, columns, generator)
        length = channels * sum(n * n for n in LEVELS)
        gradient = torch.randn(options.rois, length, generator=generator)
        for dtype in (torch.float32, torch.bfloat16):
            for backward in (False, True):
                host = Case(
                    values=values.to(dtype), windows=windows, gradient=gradient, backward=backward
                )
                expected = step_of(ways()["pyramid_pool"], host)().float()
                case = Case(
                    values=host.values.to(device),
                    windows=windows.to(device),
                    gradient=gradient.to(device),
                    backward=backward,
                )
                lines = compare_ways(case, expected, options.repeats)
                for against in dict.fromkeys(line.against for line in lines):
                    group = [line for line in lines if line.against == against]
                    report(group, options, f"{case.name}, {options.rois} RoIs, {name}")
