"""Photographs a second of ``detection detect`` with one and two workers, and its peak memory.

ZF-5 with random heads, as a user would run it: decoding, boxes, network and suppression overlap,
nothing is drawn. ``--long-side`` enlarges one photograph and detects on it at 5 scales: the last
line is the peak memory of that.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import torch

from detection.backbones.weights import load_backbone
from detection.benchmark.instrument import untrained_detector
from detection.benchmark.speed import spread
from detection.config import BackboneConfig, Config, FeatureConfig
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.model_file import save_detector
from detection.runs.config_io import write_config

FIVE_SCALES = (480, 576, 688, 864, 1200)


def detect(model: Path, photographs: Path, workers: int) -> dict[str, float]:
    """Run the command; give what its summary says."""
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, "-m", "detection", "detect", str(model), str(photographs)]
        words += ["--out", out, "--no_drawings", f"--proposals.workers={workers}"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    said = done.stdout + done.stderr
    found = re.search(r"(\d+) images in ([\d.]+) s .* peak memory ([\d.]+) GiB", said)
    if found is None:
        message = f"expected a summary of the images, got {said[-500:]!r}"
        raise ValueError(message)
    images, seconds, peak = map(float, found.groups())
    return {"workers": workers, "images_a_second": images / seconds, "peak_gib": peak}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("images", type=Path, help="a folder of photographs")
    parser.add_argument("--num-images", type=int, default=30)
    parser.add_argument("--long-side", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    paths = spread(list_images([options.images]), options.num_images)
    base = Config(features=FeatureConfig(dtype="auto"), backbone=BackboneConfig(name="zf5"))
    five = replace(base, features=replace(base.features, scales=FIVE_SCALES))
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, large = folder / "few", folder / "large"
        few.mkdir()
        large.mkdir()
        for path in paths:
            shutil.copy(path, few)
        pixels = read_image(paths[0], "first").pixels.numpy()[:, :, ::-1]
        factor = options.long_side / max(pixels.shape[:2])
        cv2.imwrite(str(large / "large.jpg"), cv2.resize(pixels, None, fx=factor, fy=factor))
        for model, config in (("one", base), ("five", five)):
            detector = untrained_detector(load_backbone(config.backbone), config, 20)
            save_detector(folder / model / "model.safetensors", detector)
            (folder / model / "config.yaml").write_text(write_config(config))
        lines += [{"what": "1 scale", **detect(folder / "one", few, workers)} for workers in (1, 2)]
        what = f"5 scales, {options.long_side} pixels"
        lines.append({"what": what, **detect(folder / "five", large, 1)})
    for line in lines:
        text = (
            f"{line['what']}, {line['workers']} workers: {line['images_a_second']:.2f} images a "
            f"second, peak memory {line['peak_gib']:.2f} GiB"
        )
        print(json.dumps(line | {"threads": torch.get_num_threads()}) if options.json else text)


if __name__ == "__main__":
    main()
