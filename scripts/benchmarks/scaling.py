"""What SPPnet costs against the number of RoIs, the size of the image and the number of classes.

ZF-5, random weights, a drawn image; ``--out`` takes scaling.json and scaling.png. The exponent is
the slope of the logarithms between the two largest sizes: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from detection.backbones.weights import load_backbone
from detection.benchmark.clock import StageClock
from detection.benchmark.instrument import instrument, untrained_detector
from detection.config import BackboneConfig, Config, FeatureConfig
from detection.data.images import read_image
from detection.data.synthetic import synthesize
from detection.runs.files import write_json_atomic
from detection.structures import Image, Proposals

ROIS, SIDES, CLASSES = (100, 500, 1000, 2000, 4000, 8000), (300, 480, 688, 1200), (20, 50, 100, 200)
STAGES = ("conv", "projection", "pooling", "fc", "svm", "regression", "suppression")


def random_boxes(image: Image, count: int, random: torch.Generator) -> torch.Tensor:
    """Draw boxes of at least 20 pixels all over an image."""
    height, width = image.size
    sides = torch.tensor([width, height, width, height])
    corners = torch.rand(count, 4, generator=random) * (sides - 20)
    low, high = torch.minimum(corners[:, :2], corners[:, 2:]), corners.view(-1, 2, 2).amax(dim=1)
    return torch.cat((low, high + 20), dim=1)


def time_stages(
    config: Config, image: Image, boxes: torch.Tensor, classes: int, repeats: int
) -> dict[str, float]:
    """Give the median seconds of each stage."""
    plain = untrained_detector(load_backbone(config.backbone), config, classes)
    clock = StageClock(plain.extractor.network.device)
    detector = instrument(plain, clock)
    rows = []
    for _ in range(repeats + 1):
        clock.reset()
        with clock.stage("all"):
            detector.detect(image, Proposals(image_id=image.image_id, boxes=boxes))
        seconds = clock.reset()
        seconds["suppression"] = seconds.pop("all") - sum(seconds.values())
        rows.append(seconds)
    return {s: statistics.median(row.get(s, 0.0) for row in rows[1:]) for s in STAGES}


def exponents(sizes: Sequence[int], seconds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Give the slope of the logarithms between the two largest sizes, a stage."""
    step = math.log(sizes[-1] / sizes[-2])
    return {
        s: math.log(max(seconds[-1][s], 1e-9) / max(seconds[-2][s], 1e-9)) / step for s in STAGES
    }


def measure(repeats: int, seed: int = 0) -> dict[str, Any]:
    """Time each axis with the others at 2,000 RoIs, 688 pixels, 20 classes."""
    random = torch.Generator().manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder), train_images=1, test_images=1)
        image = read_image(sorted((Path(folder) / "JPEGImages").iterdir())[0], "drawn")
    boxes = random_boxes(image, max(ROIS), random)
    base = Config(features=FeatureConfig(dtype="auto"), backbone=BackboneConfig(name="zf5"))

    def at(side: int) -> Config:
        return replace(base, features=replace(base.features, scales=(side,)))

    axes = {
        "RoIs": (ROIS, [time_stages(base, image, boxes[:n], 20, repeats) for n in ROIS]),
        "short side": (
            SIDES,
            [time_stages(at(side), image, boxes[:2000], 20, repeats) for side in SIDES],
        ),
        "classes": (
            CLASSES,
            [time_stages(base, image, boxes[:2000], k, repeats) for k in CLASSES],
        ),
    }
    return {
        name: {"sizes": sizes, "seconds": rows, "exponent": exponents(sizes, rows)}
        for name, (sizes, rows) in axes.items()
    }


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
    parser.add_argument("--out", type=Path, help="a folder for scaling.json and scaling.png")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    axes = measure(options.repeats)
    if options.json:
        print(json.dumps(axes))
    for name, axis in () if options.json else axes.items():
        print(f"{name:12}{'ms':>12}" + "".join(f"{stage:>13}" for stage in STAGES))
        for size, row in zip(axis["sizes"], axis["seconds"], strict=True):
            cells = "".join(f"{1e3 * row[stage]:13.2f}" for stage in STAGES)
            print(f"{size:12}{1e3 * sum(row.values()):12.1f}{cells}")
        print(f"{'exponent':24}" + "".join(f"{axis['exponent'][s]:13.2f}" for s in STAGES))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json_atomic(options.out / "scaling.json", axes)
        plot(axes, options.out / "scaling.png")


if __name__ == "__main__":
    main()
