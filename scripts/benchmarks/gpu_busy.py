"""The share of the time that a GPU computes while SPPnet detects on images.

The images were decoded and their boxes found before, as where proposals are cached.
``ours_s`` holds the percentage, ``against_s`` 100.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from comparison import Comparison, image_parser, show

from detection.backbones.weights import load_backbone
from detection.benchmark.instrument import untrained_detector
from detection.benchmark.speed import spread
from detection.config import BackboneConfig, Config, FeatureConfig, ProposalConfig
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.proposals.search import propose

BUSY = 80.0


def busy_share(run: Callable[[], object]) -> tuple[float, float]:
    """Return the share of the time that the GPU computes while something runs, and the seconds.

    The profiler takes time of its own: without it the share is larger, if anything.
    """
    torch.cuda.synchronize()
    kinds = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    working = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
    return working / seconds, seconds


def main() -> None:
    """Measure and print."""
    parser = image_parser(__doc__.split("\n", maxsplit=1)[0], num_images=50)
    parser.add_argument("--backbone", default="zf5")
    options = parser.parse_args()
    config = Config(
        features=FeatureConfig(dtype="auto", device="cuda"),
        backbone=BackboneConfig(name=options.backbone),
    )
    detector = untrained_detector(load_backbone(config.backbone), config, 20)
    paths = spread(list_images([options.images]), options.num_images)
    images = [read_image(path, path.stem) for path in paths]
    boxes = [propose(image, ProposalConfig(mode="paper_fast")) for image in images]
    detector.detect(images[0], boxes[0])

    def detect_all() -> None:
        for image, its in zip(images, boxes, strict=True):
            detector.detect(image, its)

    busy, seconds = busy_share(detect_all)
    share = 100 * busy
    line = Comparison(
        step=f"GPU busy, {options.backbone}, {seconds / len(images) * 1e3:.1f} ms an image",
        ours="detect, boxes cached",
        against="always",
        ours_s=share,
        against_s=100.0,
        ratio=share / BUSY,
        reach=1.0,
        max_difference=0.0,
    )
    show([line], options.json, "%")


if __name__ == "__main__":
    main()
