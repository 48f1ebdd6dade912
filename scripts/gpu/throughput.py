"""Images a second of SPPnet with ZF-5 at 480 pixels, the boxes known, the images read ahead."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from common import (
    Settings,
    know_small_network,
    peak_memory_gib,
    read_settings,
    reset_peak_memory,
    write,
)

from detection.backbones.weights import load_backbone
from detection.benchmark.instrument import untrained_detector
from detection.config import BackboneConfig, Config, FeatureConfig, ProposalConfig
from detection.data.dataset import read_dataset
from detection.data.images import read_image
from detection.detector import Detector
from detection.proposals.dataset import propose_dataset
from detection.structures import Image, Proposals, Record

GOAL = 500.0
AHEAD = 64


def make_config(settings: Settings) -> Config:
    """Return the configuration; the data and the boxes are those of the subset's training."""
    return Config(
        data=settings.data,
        proposals=ProposalConfig(
            folder=settings.boxes,
            workers=1 if settings.smoke else 0,
            max_boxes=20 if settings.smoke else 2000,
        ),
        backbone=BackboneConfig(name="tiny" if settings.smoke else "zf5"),
        features=FeatureConfig(
            device=str(settings.device), dtype="auto", scales=(96 if settings.smoke else 480,)
        ),
    )


def read_images(records: Sequence[Record]) -> Iterator[Image]:
    """Return the images in order, decoded by threads a little ahead of their turn."""
    workers = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(read_image, r.path, r.image_id) for r in records[:AHEAD]]
        for index in range(len(records)):
            yield waiting[index].result()
            following = records[index + AHEAD : index + AHEAD + 1]
            waiting += [pool.submit(read_image, r.path, r.image_id) for r in following]


def detect_all(detector: Detector, records: Sequence[Record], boxes: Sequence[Proposals]) -> float:
    """Detect on every image; return the seconds, reading and transfers included."""
    start = time.perf_counter()
    for image, its in zip(read_images(records), boxes, strict=True):
        detector.detect(image, its)
    return time.perf_counter() - start


def measure(settings: Settings) -> dict[str, Any]:
    """Return what is written, from three passes after one that warms up."""
    config = make_config(settings)
    dataset = read_dataset(config.data, "test")
    store = propose_dataset(dataset, config.proposals, settings.work / "proposals")
    boxes = [store.load(record) for record in dataset.records]
    detector = untrained_detector(load_backbone(config.backbone), config, 20)
    work = (detector, dataset.records, boxes)
    detect_all(*work)
    reset_peak_memory(settings.device)
    seconds = [detect_all(*work) for _ in range(1 if settings.smoke else 3)]
    count = len(dataset.records)
    values: dict[str, Any] = {
        "backbone": config.backbone.name,
        "dtype": str(detector.extractor.dtype).removeprefix("torch."),
        "num_images": count,
        "median_boxes": statistics.median(len(its.boxes) for its in boxes),
        "seconds": seconds,
        "images_s": count / statistics.median(seconds),
        "goal_images_s": GOAL,
        "peak_gib": peak_memory_gib(settings.device),
        "busy_share": None,
    }
    write(settings, "throughput", values)
    if torch.cuda.is_available() and settings.device.type == "cuda":
        from gpu_busy import busy_share  # of scripts/benchmarks

        values["busy_share"], values["profiled_s"] = busy_share(lambda: detect_all(*work))
    return values


def main() -> None:
    """Measure, write and print."""
    settings = read_settings(__doc__)
    if settings.smoke:
        know_small_network()
    values = measure(settings)
    write(settings, "throughput", values)
    print(values)


if __name__ == "__main__":
    main()
