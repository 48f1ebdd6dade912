"""Commands on detectors: train, evaluate, apply, time and report them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from detection.cli.command import (
    PARALLEL,
    RESTART,
    SECTIONS,
    TRACKER,
    Command,
    defaults,
    flag,
    folder,
    of_run,
    option,
    parallel_of,
    report_images,
    restart,
)
from detection.cli.parser import whole_number
from detection.config import Config

if TYPE_CHECKING:
    from detection.inference.inputs import Inputs

RUN = option("run", "the folder of a trained detector", type=Path)
DEVICE = option("--device", "auto, cpu, cuda or cuda:<number>", default="auto")


def train(options: argparse.Namespace, config: Config) -> None:
    """Train a detector, SPPnet or R-CNN, into its own run folder.

    Without --config, --backbone.name and --features.method, settings start from the preset 'own'.
    """
    from detection.data.roots import require_roots

    if not options.resume:  # what is trained already needs no images
        require_roots(config.data, "train")
    from detection.runs.interruption import says_how_to_resume
    from detection.training.pipeline import train as run

    if _from_own(options):
        print("settings: the preset own; detection configs lists others")
    with says_how_to_resume("train", options.out):
        run(config, options.out, trackers=options.tracker or (), **restart(options))
    print(f"{options.out}: trained; next: detection evaluate {options.out}")


def _from_own(options: argparse.Namespace) -> bool:
    """Return whether nothing says which detector to train."""
    return not (options.config or {"backbone.name", "features.method"} & set(vars(options)))


def _own_or_defaults(options: argparse.Namespace) -> Config:
    """Start from the preset for images of one's own, where nothing else is named."""
    if not _from_own(options):
        return Config()
    from detection.runs.config_io import apply, read_config_file
    from detection.runs.presets import OWN, find_preset

    return apply(Config(), read_config_file(find_preset(OWN)))


def evaluate(options: argparse.Namespace, config: Config) -> None:
    """Score a trained detector on the test images of a data set.

    Settings start from those of the run; the result is metrics.json and the detections. Of several
    runs, the union of their scored windows is suppressed.
    """
    from detection.data.roots import require_roots
    from detection.runs.folder import model_file

    for path in (options.run, *options.others):
        model_file(path)
    require_roots(config.data, "test")
    from detection.inference.dataset import evaluate as run

    config = _on_device(config, options.device)
    trackers = options.tracker or ()
    run(
        options.run,
        config,
        options.out,
        options.others,
        trackers=trackers,
        parallel=parallel_of(options),
    )


def detect(options: argparse.Namespace, config: Config) -> int:
    """Find objects in images, videos and what a camera sees: drawings and a JSON file.

    A video or a camera becomes a drawn video, and a file with a line of JSON a frame; Ctrl-C ends a
    camera. Settings start from those of the run. The exit code is 1 if an image could not be read.
    """
    from detection.data.folder import list_images
    from detection.inference.inputs import open_inputs
    from detection.runs.folder import model_file

    model_file(options.run)
    with open_inputs(options.inputs) as inputs:
        if inputs.images:
            list_images(inputs.images)
        return _detect(options, config, inputs)


def _detect(options: argparse.Namespace, config: Config, inputs: Inputs) -> int:
    """Find objects in what is there."""
    from detection.ensemble import combine
    from detection.inference.images import detect as run
    from detection.inference.shards import Sharding
    from detection.inference.video import detect_video
    from detection.model_io import load_detector

    parallel = parallel_of(options)
    sharding = Sharding(runs=(options.run,), parallel=parallel) if parallel else None
    detector = combine(
        [load_detector(options.run, device=options.device)], _on_device(config, options.device)
    )
    shown = {"threshold": options.threshold, "draw": not options.no_drawings}
    for path in inputs.videos:
        found = detect_video(detector, path, options.out, max_frames=options.frames, **shown)
        print(found.format())
    if not inputs.images:
        return 0
    summary = run(
        detector,
        inputs.images,
        options.out,
        coco=options.coco,
        called=inputs.called,
        sharding=sharding,
        **shown,
    )
    return report_images(options.out, summary)


def benchmark(options: argparse.Namespace, config: Config) -> None:
    """Time R-CNN and SPPnet, stage by stage, on the same images and boxes."""
    from detection.data.folder import list_images

    list_images([options.images])
    from detection.benchmark.speed import BenchmarkPlan, format_benchmark
    from detection.benchmark.speed import benchmark as run

    plan = BenchmarkPlan(num_images=options.num_images, repeats=options.repeats)
    print(format_benchmark(run(config, options.images, options.out, plan)))


def report(options: argparse.Namespace, config: Config) -> None:
    """Compare runs on one HTML page and in a table: accuracy, speed, mistakes, images."""
    from detection.runs.folder import require_results

    for path in options.runs:
        require_results(path)
    from detection.report.html import report_run

    report_run(options.runs, options.out)
    print(f"{_table(options.runs)}\n{options.out}: written")


def _table(folders: Sequence[Path]) -> str:
    """Return each evaluated run's mean AP, images and rules as text, then the benchmarks."""
    from detection.benchmark.speed import format_benchmark
    from detection.evaluation.results import counts_line, rule_lines
    from detection.report.loading import load_runs, read_benchmark, read_metrics
    from detection.report.paired import paired_differences

    rows = [("mean AP, %", "method", "11-point", "area", "COCO", "")]
    rules: dict[str, None] = {}
    for path in folders:
        if values := read_metrics(path / "metrics.json"):
            means = [values["map"][rule] for rule in ("voc07", "voc10", "coco")]
            first, *rest = ["-" if mean is None else f"{100 * mean:.1f}" for mean in means]
            rows.append((str(path), values["method"], first, *rest, counts_line(values)))
            rules |= dict.fromkeys(rule_lines(values))
    name, method = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [
        f"{a:<{name}}  {b:<{method}}  {c:>8} {d:>6} {e:>6}  {f}".rstrip()
        for a, b, c, d, e, f in rows
    ]
    lines += rules
    lines += [
        f"{one.name}: 11-point {one.format()} against {folders[0]}, paired 95% interval over images"
        for one in paired_differences(load_runs(folders))
    ]
    benchmarks = [read_benchmark(path / "benchmark.json") for path in folders]
    return "\n".join([*lines, *(format_benchmark(measured) for measured in benchmarks if measured)])


def _on_device(config: Config, device: str) -> Config:
    """Return the configuration with a different device."""
    return replace(config, features=replace(config.features, device=device))


DETECTOR_COMMANDS = {
    "train": Command(
        run=train,
        options=(folder("--out", "the run folder", "runs/train"), *RESTART, TRACKER),
        base=_own_or_defaults,
        sections=tuple(name for name in SECTIONS if name not in {"pretrain", "classify"}),
    ),
    "evaluate": Command(
        run=evaluate,
        options=(
            RUN,
            option("others", "more of them, combined with the first", nargs="*", type=Path),
            folder("--out", "where to write, instead of the run folder"),
            TRACKER,
            DEVICE,
            *PARALLEL,
        ),
        base=of_run,
        sections=("data", "proposals", "postprocess", "cascade", "evaluation"),
    ),
    "detect": Command(
        run=detect,
        options=(
            RUN,
            option(
                "inputs",
                "images, folders of images, patterns, videos, http and https addresses of images "
                "and videos, and cameras: camera:0 or 0 for the first",
                nargs="+",
            ),
            option("--frames", "of a video or a camera, at most", type=whole_number),
            folder("--out", "where to write", "runs/detect"),
            option(
                "--threshold",
                "the lowest probability to show; without it that of the best F1 in training. Of a "
                "detector without calibration the lowest score, 0 of SVMs and 0.5 of a softmax",
                type=float,
            ),
            flag("--no_drawings", "write detections.json and JSON lines only"),
            option(
                "--coco",
                "also write them as COCO results; category_id is the class's place in the class "
                "list, from 1",
                type=Path,
                metavar="FILE",
            ),
            DEVICE,
            *PARALLEL,
        ),
        base=of_run,
        sections=("data", "proposals", "postprocess", "cascade"),
    ),
    "benchmark": Command(
        run=benchmark,
        options=(
            folder("--images", "images", "data/synthetic/JPEGImages"),
            option("--num_images", "how many of them", type=whole_number, default=20),
            option("--repeats", "how often each", type=whole_number, default=1),
            folder("--out", "where to write", "runs/benchmark"),
        ),
        base=defaults,
        sections=("data", "proposals", "backbone", "features", "postprocess", "cascade"),
    ),
    "report": Command(
        run=report,
        options=(
            option("runs", "run folders, also of benchmarks", nargs="+", type=Path),
            option("--out", "the page to write", default=Path("runs/report.html"), metavar="FILE"),
        ),
    ),
}
