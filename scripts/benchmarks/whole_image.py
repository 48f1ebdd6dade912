"""Whole photographs: SPPnet against R-CNN, same boxes and precision, and today's detectors beside.

Four lines a backbone: conv layers, network (resize to regression), the image where both methods
have the native proposals, and SPPnet with native against R-CNN with OpenCV's proposals. The last
lines are torchvision's detectors with random weights, for their time only: ``ratio`` is how many
times faster SPPnet with its proposals is. ``--out`` keeps every stage with its quartiles.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import torch
import torchvision
from comparison import Comparison

from detection.benchmark.speed import Plan, benchmark, spread
from detection.config import BackboneConfig, Config, FeatureConfig, ProposalConfig
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.proposals.search import propose
from detection.runs.files import write_json_atomic

NETWORK_REACH = {"alexnet": 13.0, "zf5": 35.0, "vgg16": 80.0}
IMAGE_REACH = {"zf5": 30.0, "vgg16": 70.0}
CONTEXT = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "ssdlite320_mobilenet_v3_large",
)
SCALE_SETS = {1: (688,), 5: (480, 576, 688, 864, 1200)}


def opencv_seconds(paths: list[Path]) -> float:
    """Give the median seconds of OpenCV's fast selective search."""
    config = ProposalConfig(backend="opencv")
    seconds = []
    for path in paths:
        image = read_image(path, path.stem)
        start = time.perf_counter()
        propose(image, config)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def compare_methods(result: dict[str, Any], opencv_s: float) -> list[Comparison]:
    """Give the lines of one backbone."""
    name, methods = result["backbone"], result["methods"]

    def line(step: str, key: str, reach: float, swapped: float = 0.0) -> Comparison:
        ours = methods["sppnet"][key]["median"]
        theirs = methods["rcnn"][key]["median"] + swapped
        return Comparison(
            step=f"{step}, {name}",
            ours="SPPnet",
            against="R-CNN",
            ours_s=ours,
            against_s=theirs,
            ratio=theirs / ours,
            reach=reach,
            max_difference=0.0,
        )

    native_s = methods["rcnn"]["stages"]["proposals"]["median"]
    opencv_line = line(
        "image, R-CNN with OpenCV's proposals",
        "with_proposals_s",
        IMAGE_REACH.get(name, 1.0),
        opencv_s - native_s,
    )
    return [
        line("conv", "conv_s", 1.0),
        line("network", "network_s", NETWORK_REACH.get(name, 1.0)),
        line("image, same proposals", "with_proposals_s", 1.0),
        opencv_line,
    ]


def time_today(paths: list[Path], device: torch.device, sppnet_s: float) -> list[Comparison]:
    """Time torchvision's detectors on the same photographs."""
    lines = []
    for name in CONTEXT:
        model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
        model = model.eval().to(device)
        seconds = []
        with torch.inference_mode():
            for path in (paths[0], *paths):  # the first one warms up
                pixels = read_image(path, path.stem).pixels.permute(2, 0, 1).float() / 255
                start = time.perf_counter()
                found = model([pixels.to(device)])
                float(found[0]["scores"].sum())  # waits for the device
                seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds[1:])
        lines.append(
            Comparison(
                step="image, today's detectors",
                ours="SPPnet zf5 with proposals",
                against=name,
                ours_s=sppnet_s,
                against_s=median,
                ratio=median / sppnet_s,
                reach=0.0,
                max_difference=0.0,
            )
        )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("images", type=Path, help="a folder of photographs")
    parser.add_argument("--num-images", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--backbones", default="alexnet,zf5,vgg16")
    parser.add_argument("--num-scales", type=int, choices=sorted(SCALE_SETS), default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "auto"), default="auto")
    parser.add_argument("--proposals", default="paper_fast", help="proposals.mode")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="a folder for each backbone's stages")
    parser.add_argument("--json", action="store_true", help="one JSON object a comparison")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    paths = spread(list_images([options.images]), options.num_images)
    opencv_s = opencv_seconds(paths)
    config = Config(
        features=FeatureConfig(dtype=options.dtype, scales=SCALE_SETS[options.num_scales]),
        proposals=ProposalConfig(mode=options.proposals),
    )
    plan = Plan(num_images=options.num_images, repeats=options.repeats)
    lines, sppnet_s = [], 0.0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in options.backbones.split(","):
        with tempfile.TemporaryDirectory() as folder:
            its = replace(config, backbone=BackboneConfig(name=name))
            result = benchmark(its, options.images, Path(folder), plan)
        result["opencv_proposals_s"] = opencv_s
        if options.out:
            scales = f"{options.num_scales}scale"
            write_json_atomic(options.out / f"{name}_{scales}_{device.type}.json", result)
        lines += compare_methods(result, opencv_s)
        if name == "zf5":
            sppnet_s = result["methods"]["sppnet"]["with_proposals_s"]["median"]
    lines += time_today(paths, device, sppnet_s) if sppnet_s else []
    for c in lines:
        text = f"{c.step:52}{c.against:40}{1e3 * c.ours_s:10.1f}{1e3 * c.against_s:12.1f}"
        print(json.dumps(asdict(c)) if options.json else f"{text}{c.ratio:8.2f}x{c.reach:6.1f}x")


if __name__ == "__main__":
    main()
