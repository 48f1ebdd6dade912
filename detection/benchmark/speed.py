"""R-CNN against SPPnet, stage by stage, on the same images, boxes, network and precision."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from detection.backbones.weights import load_backbone
from detection.benchmark.clock import StageClock
from detection.benchmark.flops import count_flops
from detection.benchmark.instrument import instrument, untrained_detector
from detection.benchmark.unbroken import TimedImage, quartiles, time_unbroken
from detection.config import MAY_CASCADE, Config, Method
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.detector import Detector
from detection.errors import DataError
from detection.io.device import device_name, is_host, resolve_device
from detection.io.files import write_json_atomic
from detection.io.progress import track
from detection.proposals.search import propose
from detection.runs.environment import describe_environment
from detection.words import counted

STAGES = (
    "decode",
    "proposals",
    "resize",
    "warp",
    "conv",
    "projection",
    "pooling",
    "cascade",
    "fc",
    "svm",
    "regression",
    "suppression",
)
"""In the order of the pipeline; ``suppression`` is all that no other stage counts."""

SHARED = ("decode", "proposals")

NETWORK = ("resize", "warp", "conv", "projection", "pooling", "cascade", "fc", "svm", "regression")


UNBROKEN = (
    ("network_s", "network (to scores), unbroken"),
    ("without_proposals_s", "image, unbroken"),
)
"""What `time_unbroken` times on a GPU, where stage clocks hold up what they time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkPlan:
    """What is timed.

    Attributes:
        num_images: how many images, evenly spread over the folder.
        repeats: how often each is timed, the methods in turn.
        num_classes: K of the random heads.
    """

    num_images: int = 5
    repeats: int = 1
    num_classes: int = 20


def benchmark(config: Config, images: Path, out: Path, plan: BenchmarkPlan) -> dict[str, Any]:
    """Time both methods in one run; write and return what ``benchmark.json`` holds.

    The heads are random: the time does not depend on what they learned. Decoding and proposals are
    timed once per image, as both methods share them.

    Args:
        config: of either method; both take its backbone, boxes, layer, precision and device.
        images: a folder of images.
        out: where to write.
        plan: how many images and repeats.

    Raises:
        DataError: if there is no image.
    """
    resolve_device(config.features.device)  # a device that is not there is said before anything
    paths = spread(list_images([images]), plan.num_images)
    backbone = load_backbone(config.backbone)
    detectors = {
        method: untrained_detector(backbone, its_config, plan.num_classes)
        for method, its_config in configs_of_methods(config).items()
    }
    clock = StageClock(next(iter(detectors.values())).extractor.device)
    samples = [read_timed_image(path, config, clock) for path in track(paths, len(paths), "boxes")]
    measured = measure(detectors, samples, clock, plan.repeats)
    result = {
        "backbone": config.backbone.name,
        "dtype": str(next(iter(detectors.values())).extractor.dtype).split(".")[-1],
        "device": device_name(clock.device),
        "threads": torch.get_num_threads(),
        "scales": list(config.features.scales),
        "layer": config.features.layer,
        "num_images": len(samples),
        "repeats": plan.repeats,
        "num_classes": plan.num_classes,
        "median_boxes": statistics.median(len(p.proposals.boxes) for p in samples),
        **measured,
        "environment": describe_environment(),
    }
    write_json_atomic(out / "benchmark.json", result)
    return result


def configs_of_methods(config: Config) -> dict[str, Config]:
    """Return the configuration of each method; one that can have no cascade is timed without."""
    plain = replace(config.cascade, enabled=False)
    return {
        method: replace(
            config,
            features=replace(config.features, method=method),
            cascade=config.cascade if MAY_CASCADE[method] else plain,
        )
        for method in get_args(Method)
    }


def measure(
    detectors: Mapping[str, Detector],
    samples: Sequence[TimedImage],
    clock: StageClock,
    repeats: int,
) -> dict[str, Any]:
    """Return seconds per stage, FLOPs and ratios of the methods, after a run that is not counted.

    Args:
        detectors: by method, without clocks.
        samples: images with their boxes.
        clock: of the stages.
        repeats: how often each image is timed.
    """
    flops = {}
    for name, detector in detectors.items():
        first = samples[0]
        detector.detect(first.image, first.few_boxes())  # compiles and allocates, not counted
        flops[name] = median_flops(detector, samples)
    unbroken = {}
    if not is_host(clock.device):
        unbroken = {"unbroken": time_unbroken(detectors, samples, repeats)}
    timed = {name: instrument(detector, clock) for name, detector in detectors.items()}
    rows = time_methods(timed, samples, clock, repeats)
    methods = {name: summarise(its_rows) for name, its_rows in rows.items()}
    return {"methods": methods, "flops": flops, "ratios": ratios(methods, flops), **unbroken}


def median_flops(detector: Detector, samples: Sequence[TimedImage]) -> dict[str, float]:
    """Return each layer's operations, the median over the images."""
    counts = [count_flops(detector, p.image, p.proposals) for p in samples]
    return {layer: statistics.median(c[layer] for c in counts) for layer in counts[0]}


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Return ``count`` of the paths, evenly spaced."""
    count = min(count, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def read_timed_image(path: Path, config: Config, clock: StageClock) -> TimedImage:
    """Decode an image and find its boxes, each timed.

    Raises:
        DataError: if the image cannot be read, or fewer than two boxes are found.
    """
    clock.reset()
    with clock.stage("decode"):
        image = read_image(path, path.stem, max_pixels=config.data.max_pixels)
    with clock.stage("proposals"):
        proposals = propose(image, config.proposals, threads=torch.get_num_threads())
    if len(proposals.boxes) < 2:
        message = f"{path}: expected an image with two boxes or more to time, got fewer"
        raise DataError(message)
    return TimedImage(image=image, proposals=proposals, seconds=clock.reset())


def time_methods(
    detectors: Mapping[str, Detector],
    samples: Sequence[TimedImage],
    clock: StageClock,
    repeats: int,
) -> dict[str, list[dict[str, float]]]:
    """Return the seconds of each stage per method and repeat; the methods take turns."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in detectors}
    runs = [sample for sample in samples for _ in range(repeats)]
    for sample in track(runs, len(runs), "time"):
        for name, detector in detectors.items():
            clock.reset()
            with clock.stage("all"):
                detector.detect(sample.image, sample.proposals)
            seconds = clock.reset()
            whole = seconds.pop("all")
            seconds["suppression"] = whole - sum(seconds.values())
            rows[name].append({**sample.seconds, **seconds})
    return rows


def summarise(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return the median and quartiles of each stage and of the sums behind the ratios.

    Args:
        rows: of each measurement the seconds of each stage.
    """
    network = [sum(row.get(stage, 0.0) for stage in NETWORK) for row in rows]
    image = [sum(s for stage, s in row.items() if stage not in SHARED) for row in rows]
    return {
        "stages": {s: quartiles([row[s] for row in rows]) for s in STAGES if s in rows[0]},
        "conv_s": quartiles([row["conv"] for row in rows]),
        "network_s": quartiles(network),
        "without_proposals_s": quartiles(image),
        "with_proposals_s": quartiles([sum(row.values()) for row in rows]),
    }


def ratios(
    methods: Mapping[str, Mapping[str, Any]], flops: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Return the ratios of R-CNN's medians to SPPnet's, and of their operations."""
    sums = ("conv_s", "network_s", "without_proposals_s", "with_proposals_s")
    return {
        **{s: methods["rcnn"][s]["median"] / methods["sppnet"][s]["median"] for s in sums},
        "conv_flops": flops["rcnn"]["conv"] / flops["sppnet"]["conv"],
    }


def format_benchmark(result: Mapping[str, Any]) -> str:
    """Return a benchmark.json as a table: one stage per line in ms per image, then the ratios."""
    methods = result["methods"]
    lines = [
        f"{result['backbone']}, {result['dtype']}, {result['device']}, "
        f"{counted(result['threads'], 'thread')}, scales {result['scales']}, "
        f"SVMs on {result['layer']}: "
        f"{counted(result['num_images'], 'image')}, {result['median_boxes']:.0f} boxes (median), "
        f"{counted(result['repeats'], 'repeat')}",
        f"{'ms an image, median [quartiles]':<34} {'SPPnet':>26} {'R-CNN':>32} {'ratio':>8}",
    ]
    for stage in STAGES:
        cells = [methods[m]["stages"].get(stage) for m in ("sppnet", "rcnn")]
        if any(cells):
            lines.append(f"  {stage:<32} {_cell(cells[0]):>26} {_cell(cells[1]):>32}")
    for key, name in (
        ("conv_s", "conv only"),
        ("network_s", "network (resize to regression)"),
        ("without_proposals_s", "image, without proposals"),
        ("with_proposals_s", "image, with proposals"),
    ):
        cells = [methods[m][key] for m in ("sppnet", "rcnn")]
        ratio = result["ratios"][key]
        lines.append(f"{name:<34} {_cell(cells[0]):>26} {_cell(cells[1]):>32} {ratio:>7.1f}x")
    giga = {m: result["flops"][m]["conv"] / 1e9 for m in ("sppnet", "rcnn")}
    for key, name in UNBROKEN if "unbroken" in result else ():
        cells = [result["unbroken"][m][key] for m in ("sppnet", "rcnn")]
        ratio = cells[1]["median"] / cells[0]["median"]
        lines.append(f"{name:<34} {_cell(cells[0]):>26} {_cell(cells[1]):>32} {ratio:>7.1f}x")
    lines.append(
        f"{'conv GFLOP':<34} {giga['sppnet']:>26.1f} {giga['rcnn']:>32.1f} "
        f"{result['ratios']['conv_flops']:>7.1f}x"
    )
    return "\n".join(lines)


def _cell(values: Mapping[str, float] | None) -> str:
    if values is None:
        return "-"
    median, q1, q3 = (1e3 * values[key] for key in ("median", "q1", "q3"))
    return f"{median:.1f} [{q1:.1f}-{q3:.1f}]"
