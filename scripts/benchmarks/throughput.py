"""Images a second of ``detection detect`` with one and two workers, and its peak memory.

ZF-5 with random heads, as a user would run it: decoding, boxes, network and suppression overlap,
nothing is drawn; the two commands take turns. Then one image is enlarged to ``--long-side``
and detected on at 5 scales: that line compares the peak memory with 4 GiB.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
from comparison import Comparison, image_parser, show

from detection.backbones.weights import load_backbone
from detection.benchmark.instrument import untrained_detector
from detection.benchmark.speed import spread
from detection.config import BackboneConfig, Config, FeatureConfig
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.model_io import save_detector
from detection.runs.config_io import write_config

FIVE_SCALES = (480, 576, 688, 864, 1200)


MEMORY_GIB = 4.0


def detect(model: Path, photographs: Path, workers: int, threads: int) -> tuple[float, float]:
    """Run the command; return its seconds an image and its peak memory in GiB."""
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, "-m", "detection", "detect", str(model), str(photographs)]
        words += ["--out", out, "--no_drawings", f"--proposals.workers={workers}"]
        limit = os.environ | {"OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=limit)
    said = done.stdout + done.stderr
    detections = re.search(r"(\d+) images in ([\d.]+) s .* peak memory ([\d.]+) GiB", said)
    if detections is None:
        message = f"expected a summary of the images, got {said[-500:]!r}"
        raise ValueError(message)
    images, seconds, peak = map(float, detections.groups())
    return seconds / images, peak


def write_models(folder: Path) -> None:
    """Write a detector of one scale, ``one``, and of five, ``five``."""
    base = Config(features=FeatureConfig(dtype="auto"), backbone=BackboneConfig(name="zf5"))
    five = replace(base, features=replace(base.features, scales=FIVE_SCALES))
    for model, config in (("one", base), ("five", five)):
        detector = untrained_detector(load_backbone(config.backbone), config, 20)
        save_detector(folder / model / "model.safetensors", detector)
        (folder / model / "config.yaml").write_text(write_config(config))


def write_photographs(folder: Path, paths: Sequence[Path], long_side: int) -> None:
    """Write the images, ``few``, and the first of them enlarged, ``large``."""
    few, large = folder / "few", folder / "large"
    few.mkdir()
    large.mkdir()
    for path in paths:
        shutil.copy(path, few)
    pixels = read_image(paths[0], "first").pixels.numpy()[:, :, ::-1]
    factor = long_side / max(pixels.shape[:2])
    cv2.imwrite(str(large / "large.jpg"), cv2.resize(pixels, None, fx=factor, fy=factor))


def compare_workers(seconds: dict[int, list[float]], what: str) -> Comparison:
    """Compare the medians of two workers with those of one."""
    two, one = (statistics.median(seconds[workers]) for workers in (2, 1))
    return Comparison(
        step=f"detection detect, {what}",
        ours=f"2 workers, {1 / two:.2f} images a second",
        against=f"1 worker, {1 / one:.2f} images a second",
        ours_s=two,
        against_s=one,
        ratio=one / two,
        reach=0.0,
        max_difference=0.0,
    )


def main() -> None:
    """Measure and print."""
    parser = image_parser(__doc__.split("\n", maxsplit=1)[0], num_images=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--long-side", type=int, default=2000)
    options = parser.parse_args()
    paths = spread(list_images([options.images]), options.num_images)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder)
        write_photographs(folder, paths, options.long_side)
        for _ in range(options.repeats):
            for workers, its in seconds.items():
                its.append(detect(folder / "one", folder / "few", workers, options.threads)[0])
        _, peak = detect(folder / "five", folder / "large", 1, options.threads)
    show([compare_workers(seconds, f"{len(paths)} images")], options.json)
    memory = Comparison(
        step="peak memory",
        ours=f"5 scales of an image of {options.long_side} pixels",
        against="the limit",
        ours_s=peak,
        against_s=MEMORY_GIB,
        ratio=MEMORY_GIB / peak,
        reach=1.0,
        max_difference=0.0,
    )
    show([memory], options.json, "GiB")


if __name__ == "__main__":
    main()
