"""Whole images: SPPnet against R-CNN, the same boxes, network and precision.

Four lines a backbone: conv layers, network (resize to regression), the image where both methods
have the native proposals, and SPPnet with native against R-CNN with OpenCV's fast proposals, whose
seconds stand in for the native ones, the boxes being the same. Medians over images in which
the search finds ``--max-boxes`` or more, on which the methods take turns; ``--fc`` gives both the
same form of fc6 and fc7. ``--out`` keeps every stage with its quartiles.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import torch
from comparison import Comparison, image_parser, show

from detection.benchmark.speed import BenchmarkPlan, benchmark, spread
from detection.config import BackboneConfig, Config, FeatureConfig, ProposalConfig
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.io.files import write_json_atomic
from detection.proposals.search import propose

NETWORK_REACH = {"alexnet": 13.0, "zf5": 35.0, "vgg16": 80.0}
IMAGE_REACH = {"zf5": 30.0, "vgg16": 70.0}
SCALE_SETS = {1: (688,), 5: (480, 576, 688, 864, 1200)}


def with_many_boxes(paths: list[Path], count: int, config: ProposalConfig) -> list[Path]:
    """Return the first ``count`` images that are full of boxes, in an order spread over all.

    Raises:
        SystemExit: if there are not so many.
    """
    selected: list[Path] = []
    for path in spread(paths, max(len(paths) // 5, count)):
        boxes = propose(read_image(path, path.stem), config).boxes
        selected += [path] * (len(boxes) >= config.max_boxes)
        if len(selected) == count:
            break
    else:
        message = f"expected {count} images of {config.max_boxes} boxes, got {len(selected)}"
        raise SystemExit(message)
    return selected


def opencv_seconds(paths: list[Path]) -> float:
    """Return the median seconds of OpenCV's fast selective search."""
    config = ProposalConfig(backend="opencv")
    seconds = []
    for path in paths:
        image = read_image(path, path.stem)
        start = time.perf_counter()
        propose(image, config)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def compare_methods(result: dict[str, Any], opencv_s: float) -> list[Comparison]:
    """Return the lines of one backbone."""
    name, methods = result["backbone"], result["methods"]
    scales = f"{len(result['scales'])} scale{'s' * (len(result['scales']) > 1)}"
    kind = "" if result["fc_form"] == "auto" else f", fc {result['fc_form']}"
    what = f"{name}, {scales}, {result['dtype']}{kind}, {result['median_boxes']:.0f} boxes"
    has_goal = result["device"] == "cpu" and len(result["scales"]) == 1

    def line(step: str, key: str, reach: float, swapped: float = 0.0) -> Comparison:
        ours = methods["sppnet"][key]["median"]
        theirs = methods["rcnn"][key]["median"] + swapped
        return Comparison(
            step=f"{step}, {what}",
            ours="SPPnet",
            against="R-CNN",
            ours_s=ours,
            against_s=theirs,
            ratio=theirs / ours,
            reach=reach if has_goal else 0.0,
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


def main() -> None:
    """Measure and print."""
    parser = image_parser(__doc__.split("\n", maxsplit=1)[0], num_images=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--backbones", default="alexnet,zf5,vgg16")
    parser.add_argument("--num-scales", type=int, choices=sorted(SCALE_SETS), default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "auto"), default="auto")
    forms = ("auto", "int8", "svd", "svd_int8")
    parser.add_argument("--fc", choices=forms, default="auto", help="features.fc of both methods")
    parser.add_argument("--mode", default="paper_fast", help="proposals.mode")
    parser.add_argument("--max-boxes", type=int, default=2000, help="proposals.max_boxes")
    parser.add_argument("--out", type=Path, help="a folder for each backbone's stages")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    features = FeatureConfig(
        dtype=options.dtype, scales=SCALE_SETS[options.num_scales], fc=options.fc
    )
    proposals = ProposalConfig(mode=options.mode, max_boxes=options.max_boxes)
    plan = BenchmarkPlan(num_images=options.num_images, repeats=options.repeats)
    lines = []
    with tempfile.TemporaryDirectory() as name:
        chosen = Path(name) / "photographs"
        chosen.mkdir()
        paths = with_many_boxes(list_images([options.images]), options.num_images, proposals)
        for path in paths:
            shutil.copy(path, chosen)
        opencv_s = opencv_seconds(paths)
        for backbone in options.backbones.split(","):
            config = Config(
                features=features,
                proposals=proposals,
                backbone=BackboneConfig(name=backbone),
            )
            result = benchmark(config, chosen, Path(name) / backbone, plan)
            result |= {"opencv_proposals_s": opencv_s, "fc_form": options.fc}
            if options.out:
                device = "cpu" if result["device"] == "cpu" else "cuda"
                form = "" if options.fc == "auto" else f"_{options.fc}"
                file = f"{backbone}_{options.num_scales}scale{form}_{device}.json"
                write_json_atomic(options.out / file, result)
            lines += compare_methods(result, opencv_s)
    show(lines, options.json)


if __name__ == "__main__":
    main()
