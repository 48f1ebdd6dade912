"""The detector that one would take, against torchvision's on the same trunk or one of its class.

SPPnet on EfficientNet-Lite0, trained, in its ways of being applied; torchvision's Faster R-CNN and
SSDlite on the same trunk, and its mobile detectors as they come (`detector_ways.py`): the same
images, threads and precision, float32. On each image all take turns; then they take turns on a
folder of all the images, from the files on, SPPnet by ``detection detect``, torchvision's one image
or four at a time.

    python scripts/benchmarks/detectors.py runs/mine IMAGES --cascade-run runs/mine_cascade \
      --page docs/speed.md
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import torch
from detector_ways import FEW, RECALL, Way, sppnet_ways, torchvision_ways
from marks import replace_between
from run_all import HERE

from detection.benchmark.speed import spread
from detection.benchmark.unbroken import quartiles
from detection.data.folder import list_images
from detection.data.images import read_image
from detection.io.files import write_json_atomic
from detection.proposals.search import propose
from detection.runs.environment import describe_environment
from detection.structures import Image, Proposals
from detection.words import counted

RESULTS = HERE.parents[1] / "docs/results"
MAPS = {
    "SPPnet, all boxes": "subset_sppnet_lite0.json",
    "SPPnet, 6 views": "subset_sppnet_lite0_multiscale.json",
    "Faster R-CNN, EfficientNet-Lite0": "subset_lite0_faster_rcnn.json",
}
"""Way -> the file with its mAP."""
HEAD = (
    "| detector | side | boxes | image, ms | boxes known, ms | times as fast | "
    "folder, images a second | mAP |"
)
IMAGES_PART = 0.6
"""Of the time: the rest is that of the folders."""

Times = dict[str, dict[str, list[float]]]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When to stop; every measurement is taken once at least.

    Attributes:
        rounds: at most.
        began: when the program did, by the clock.
        seconds: in all.
    """

    rounds: int
    began: float
    seconds: float

    def spent(self) -> float:
        """Return the part of the time that is over."""
        return (time.perf_counter() - self.began) / self.seconds

    def say(self, what: str) -> None:
        """Print how far the work is."""
        print(f"{time.perf_counter() - self.began:6.1f} s: {what}", flush=True)


def timed(run: Any, *words: Any) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    run(*words)
    return time.perf_counter() - start


def find_boxes(ways: Sequence[Way], images: Sequence[Image]) -> dict[str, list[Proposals | None]]:
    """Return the boxes of each image for each way that has a search."""
    threads = torch.get_num_threads()
    found: dict[Any, list[Proposals | None]] = {None: [None] * len(images)}
    for way in ways:
        if way.proposals not in found:
            found[way.proposals] = [propose(i, way.proposals, threads=threads) for i in images]
    return {way.name: found[way.proposals] for way in ways}


def time_images(
    ways: Sequence[Way],
    images: Sequence[Image],
    boxes: dict[str, list[Proposals | None]],
    budget: Budget,
) -> Times:
    """Return the seconds of each way, image by image, with the search and with known boxes."""
    times: Times = {way.name: {"image_s": [], "known_s": []} for way in ways}
    for turn in range(budget.rounds):
        for number, image in enumerate(images):
            if times[ways[0].name]["image_s"] and budget.spent() > IMAGES_PART:
                return times
            for way in ways:
                its, known = times[way.name], boxes[way.name][number]
                its["image_s"].append(timed(way.detect, image, None))
                if known is not None:
                    its["known_s"].append(timed(way.detect, image, known))
            budget.say(f"round {turn + 1}, image {number + 1} of {len(images)}")
    return times


def time_folders(ways: Sequence[Way], folder: Path, budget: Budget) -> Times:
    """Return the seconds an image of each way to work off a folder."""
    times: Times = {way.name: {how: [] for how in way.folder} for way in ways}
    longest = 0.0
    for turn in range(budget.rounds):
        start = time.perf_counter()
        if turn and budget.spent() + longest > 1:
            break
        for way in ways:
            for how, run in way.folder.items():
                times[way.name][how].append(run(folder))
        longest = max(longest, (time.perf_counter() - start) / budget.seconds)
        budget.say(f"folder, round {turn + 1}")
    return times


def measure(
    ways: Sequence[Way], images: Sequence[Image], paths: Sequence[Path], budget: Budget
) -> list[dict[str, Any]]:
    """Return what the table shows of each way."""
    boxes = find_boxes(ways, images)
    seen: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        few, all_of_them = Path(name) / "few", Path(name) / "all"
        for folder, its in ((few, paths[:1]), (all_of_them, paths)):
            folder.mkdir()
            for path in its:
                shutil.copy(path, folder)
        for way in ways:  # what fails does so here; caches are filled
            known = boxes[way.name]
            seen[way.name] = median(map(way.boxes, images[:3], known[:3]))
            way.detect(images[0], None)
            for run in way.folder.values():
                run(few)
            budget.say(f"{way.name}: ready, {seen[way.name]:.0f} boxes")
        times = time_images(ways, images, boxes, budget)
        folders = time_folders(ways, all_of_them, budget)
    return [
        {
            "name": way.name,
            "side": way.side,
            "form": way.form,
            "boxes": seen[way.name],
            **{key: quartiles(its) for key, its in times[way.name].items() if its},
            "folder_s": {how: quartiles(its) for how, its in folders[way.name].items()},
        }
        for way in ways
    ]


def accuracy(name: str, results: Path) -> str:
    """Return the mAP of a way, or how far it is from that of all boxes; empty if none is known."""
    if name == "SPPnet, cascade":
        stored = json.loads((results / "cascade_map.json").read_text(encoding="utf-8"))
        return f"({100 * stored[f'recall {RECALL:g}']['difference']:+.1f})"
    if name not in MAPS:
        return ""
    stored = json.loads((results / MAPS[name]).read_text(encoding="utf-8"))
    return f"{100 * stored['map']['voc07']:.1f}"


def row(way: dict[str, Any], first: dict[str, Any], results: Path) -> str:
    """Return one line of the table."""
    own = way["image_s"]["median"]
    how, best = min(way["folder_s"].items(), key=lambda item: float(item[1]["median"]))
    note = "" if how in {"detection detect", "1 at a time"} else f" ({how})"
    cells = [
        way["name"],
        way["side"],
        f"{way['boxes']:,.0f}" if way["boxes"] else "",
        f"{1e3 * own:,.0f}",
        f"{1e3 * way['known_s']['median']:,.0f}" if "known_s" in way else "",
        f"**{first['image_s']['median'] / own:.2f}**",
        f"{1 / best['median']:.2f}{note}",
        accuracy(way["name"], results),
    ]
    return f"| {' | '.join(cells)} |"


def table(result: dict[str, Any], results: Path = RESULTS) -> str:
    """Return the setting and all lines as Markdown."""
    ways = result["ways"]
    setting = (
        f"{counted(result['num_images'], 'image')}, {result['threads']} threads of an "
        f"{result['environment']['processor']}, float32, medians."
    )
    lines = [row(way, ways[0], results) for way in ways]
    return "\n".join([setting, "", HEAD, "|---" * 8 + "|", *lines])


def run(options: argparse.Namespace, budget: Budget) -> dict[str, Any]:
    """Return the result of a measurement."""
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    paths = spread(list_images([options.images]), options.num_images)
    images = [read_image(path, path.stem) for path in paths]
    ways = [
        *sppnet_ways(options.run, options.cascade_run),
        *torchvision_ways(options.weights, images[:2], options.only),
    ]
    described = describe_environment()
    kept = ("processor", "instructions", "packages")
    return {
        "environment": {key: described[key] for key in kept},
        "threads": options.threads,
        "num_images": len(paths),
        "few": FEW,
        "recall": RECALL,
        "ways": measure(ways, images, paths, budget),
    }


def main() -> None:
    """Measure, write and print."""
    began = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path, nargs="?", help="a trained detector")
    parser.add_argument("images", type=Path, nargs="?", help="a folder of images")
    parser.add_argument("--cascade-run", type=Path, help="a trained detector with a cascade")
    parser.add_argument("--weights", default="package", help="of torchvision's EfficientNet-Lite0")
    parser.add_argument("--only", default="", help="regular expression: torchvision's by name")
    parser.add_argument("--num-images", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=4, help="at most")
    parser.add_argument("--seconds", type=float, default=300, help="in all, about")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--show", action="store_true", help="measure nothing: show what is stored")
    parser.add_argument("--out", type=Path, default=HERE / "results/detectors.json")
    parser.add_argument("--page", type=Path, help="a Markdown file with the marks of detectors")
    options = parser.parse_args()
    if options.show:
        result = json.loads(options.out.read_text(encoding="utf-8"))
    else:
        budget = Budget(rounds=options.rounds, began=began, seconds=options.seconds)
        result = run(options, budget)
        write_json_atomic(options.out, result)
    print(table(result))
    if options.page is not None:
        replace_between(options.page, "detectors", table(result))


if __name__ == "__main__":
    main()
