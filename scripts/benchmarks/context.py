"""Today's detectors on the same images: SPPnet with its boxes against torchvision's models.

Weights are random: the lines are about time only. Every detector sees each image in turn,
after one that is not counted. SPPnet runs at one scale in the fastest precision of the machine,
with native proposals; torchvision's models run as they come, in float32, at their own size.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from comparison import Comparison, image_parser, show

from detection.backbones.weights import load_backbone
from detection.benchmark.instrument import untrained_detector
from detection.benchmark.speed import spread
from detection.config import BackboneConfig, Config, FeatureConfig, ProposalConfig
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.proposals.search import propose
from detection.structures import Image

TODAY = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "ssdlite320_mobilenet_v3_large",
)
Way = Callable[[Image], Any]


def sppnet(name: str, mode: str, threads: int) -> Way:
    """Return SPPnet as a function from pixels to detections."""
    config = Config(features=FeatureConfig(dtype="auto"), backbone=BackboneConfig(name=name))
    detector = untrained_detector(load_backbone(config.backbone), config, 20)
    boxes = ProposalConfig(mode=mode)
    return lambda image: detector.detect(image, propose(image, boxes, threads=threads))


def today(name: str, device: torch.device) -> Way:
    """Return one of torchvision's detectors with its 91 classes, unchanged."""
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    model = model.eval().to(device)

    def run(image: Image) -> float:
        with torch.inference_mode():
            detections = model([image.pixels.permute(2, 0, 1).float().to(device) / 255])
            return float(detections[0]["scores"].sum())  # waits for the device

    return run


def time_ways(ways: dict[str, Way], paths: Sequence[Path]) -> dict[str, float]:
    """Return the median seconds of each variant; they take turns on every image."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for path in (paths[0], *paths):
        image = read_image(path, path.stem)
        for name, run in ways.items():
            start = time.perf_counter()
            run(image)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(its[1:]) for name, its in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = image_parser(__doc__.split("\n", maxsplit=1)[0], num_images=10)
    parser.add_argument("--backbones", default="alexnet,zf5,vgg16")
    parser.add_argument("--mode", default="paper_fast", help="proposals.mode")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbones = options.backbones.split(",")
    ways = {name: sppnet(name, options.mode, options.threads) for name in backbones}
    ways |= {name: today(name, device) for name in TODAY}
    seconds = time_ways(ways, spread(list_images([options.images]), options.num_images))
    lines = [
        Comparison(
            step="image, today's detectors",
            ours=f"SPPnet {name} with proposals",
            against=other,
            ours_s=seconds[name],
            against_s=seconds[other],
            ratio=seconds[other] / seconds[name],
            reach=0.0,
            max_difference=0.0,
        )
        for name in backbones
        for other in TODAY
    ]
    show(lines, options.json)


if __name__ == "__main__":
    main()
