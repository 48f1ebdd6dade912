"""What SPPnet costs against the number of RoIs, the size of the image and the number of classes.

ZF-5, random weights, a drawn image; ``--out`` takes scaling.json, ``--plot`` a figure. A line
compares the seconds at the largest size with a proportional growth from the third largest: a ratio
of 1 is linear, above 1 is less. Repeats go through all sizes in turn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from comparison import Comparison, show

from detection.backbones.weights import load_backbone
from detection.benchmark.clock import StageClock
from detection.benchmark.instrument import instrument, untrained_detector
from detection.config import BackboneConfig, Config, FeatureConfig
from detection.data.images import read_image
from detection.data.synthetic import synthesize
from detection.detector import Detector
from detection.io.files import write_json_atomic
from detection.structures import Image, Proposals

ROIS, SIDES, CLASSES = (100, 500, 1000, 2000, 4000, 8000), (300, 480, 688, 1200), (20, 50, 100, 200)
TOLERANCE = 0.95
"""A stage that is linear in the RoIs measures 1 give or take a few hundredths."""
STAGES = ("conv", "projection", "pooling", "fc", "svm", "regression", "suppression")


def random_boxes(image: Image, count: int, random: torch.Generator) -> torch.Tensor:
    """Draw boxes of at least 20 pixels all over an image."""
    height, width = image.size
    sides = torch.tensor([width, height, width, height])
    corners = torch.rand(count, 4, generator=random) * (sides - 20)
    low, high = torch.minimum(corners[:, :2], corners[:, 2:]), corners.view(-1, 2, 2).amax(dim=1)
    return torch.cat((low, high + 20), dim=1)


@cache
def timed_detector(config: Config, classes: int) -> tuple[StageClock, Detector]:
    """Return a detector and its clock, shared by all numbers of RoIs."""
    plain = untrained_detector(load_backbone(config.backbone), config, classes)
    clock = StageClock(plain.extractor.device)
    return clock, instrument(plain, clock)


def make_timer(
    config: Config, image: Image, boxes: torch.Tensor, classes: int
) -> Callable[[], dict[str, float]]:
    """Return a function that detects once and returns the seconds of each stage."""
    clock, detector = timed_detector(config, classes)

    def run() -> dict[str, float]:
        clock.reset()
        with clock.stage("all"):
            detector.detect(image, Proposals(image_id=image.image_id, boxes=boxes))
        seconds = clock.reset()
        seconds["suppression"] = seconds.pop("all") - sum(seconds.values())
        return seconds

    run()
    return run


def time_in_turn(
    timers: Sequence[Callable[[], dict[str, float]]], repeats: int
) -> list[dict[str, float]]:
    """Return the median seconds of each stage per timer."""
    rounds = [[timer() for timer in timers] for _ in range(repeats)]
    return [
        {s: statistics.median(r.get(s, 0.0) for r in rows) for s in STAGES}
        for rows in zip(*rounds, strict=True)
    ]


def measure(repeats: int, largest: int, seed: int = 0) -> dict[str, Any]:
    """Time each axis with the others at 2,000 RoIs, 688 pixels, 20 classes."""
    random = torch.Generator().manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder), train_images=1, test_images=1)
        image = read_image(sorted((Path(folder) / "JPEGImages").iterdir())[0], "drawn")
    rois = [n for n in ROIS if n <= largest]
    boxes = random_boxes(image, max(rois), random)
    base = Config(features=FeatureConfig(dtype="auto"), backbone=BackboneConfig(name="zf5"))

    def at(side: int) -> Config:
        return replace(base, features=replace(base.features, scales=(side,)))

    axes = {
        "RoIs": (rois, [make_timer(base, image, boxes[:n], 20) for n in rois]),
        "short side": (SIDES, [make_timer(at(side), image, boxes[:2000], 20) for side in SIDES]),
        "classes": (CLASSES, [make_timer(base, image, boxes[:2000], k) for k in CLASSES]),
    }
    return {
        name: {"sizes": sizes, "seconds": time_in_turn(timers, repeats)}
        for name, (sizes, timers) in axes.items()
    }


def compare_with_linear(name: str, axis: dict[str, Any]) -> list[Comparison]:
    """Compare each stage at the largest size with a proportional growth."""
    sizes, seconds = axis["sizes"], axis["seconds"]
    first = max(len(sizes) - 3, 0)
    lines = []
    for stage in STAGES:
        linear = seconds[first][stage] * sizes[-1] / sizes[first]
        ours = seconds[-1][stage]
        lines.append(
            Comparison(
                step=f"growth with {name}, {stage}",
                ours=f"{sizes[-1]} {name}",
                against=f"{sizes[first]} {name}, proportional",
                ours_s=ours,
                against_s=linear,
                ratio=linear / max(ours, 1e-9),
                reach=TOLERANCE if name == "RoIs" and stage != "suppression" else 0.0,
                max_difference=0.0,
            )
        )
    return lines


def plot(axes: dict[str, Any], path: Path) -> None:
    """Draw the three axes, a line a stage."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(axes), figsize=(13, 4), sharey=True)
    for panel, (name, axis) in zip(panels, axes.items(), strict=True):
        for stage in STAGES:
            times = [1e3 * row[stage] for row in axis["seconds"]]
            panel.plot(axis["sizes"], times, marker="o", markersize=3, label=stage)
        panel.set(xscale="log", yscale="log", xlabel=name)
        panel.set_xticks(axis["sizes"], [str(size) for size in axis["sizes"]], fontsize=8)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("milliseconds an image")
    panels[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="a folder for scaling.json")
    parser.add_argument("--plot", type=Path, help="a file for the curves, .png or .svg")
    parser.add_argument("--largest", type=int, default=max(ROIS), help="number of RoIs")
    parser.add_argument("--json", action="store_true", help="one JSON object a comparison")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    axes = measure(options.repeats, options.largest)
    show(
        [line for name, axis in axes.items() for line in compare_with_linear(name, axis)],
        options.json,
    )
    if options.out:
        write_json_atomic(options.out / "scaling.json", axes)
    if options.plot:
        plot(axes, options.plot)


if __name__ == "__main__":
    main()
