"""Recall of the proposals against their number: this package's selective search and OpenCV's.

OpenCV's boxes stand in the random order in which it lists them, so that "the best n" of them are
what a user of OpenCV gets; ``native`` boxes stand in the order of `propose`. Difficult objects are
left out. Prints a table; ``--out`` takes recall.json, ``--plot`` a figure. ``--keep`` leaves what
was found in each image on the disk, and a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from detection.config import ProposalConfig
from detection.data.images import read_image
from detection.data.voc import read_voc
from detection.io.files import write_json_atomic
from detection.io.progress import track
from detection.proposals.opencv import segmentation_module
from detection.proposals.recall import COUNTS, RecallTable, proposal_recall
from detection.proposals.search import propose
from detection.proposals.selective_search.native import warm_up
from detection.structures import Image, Proposals, Record

MIN_SIDE = 20
REFERENCE = "cv2 quality, its order"
Search = Callable[[Image], Proposals]
Results = dict[str, tuple[RecallTable, float]]


def search_opencv(image: Image, mode: str) -> Proposals:
    """Search with OpenCV and keep its order, made repeatable by seeding libc's random numbers."""
    search = segmentation_module().createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image.pixels.numpy()[:, :, ::-1]))
    if mode == "fast":
        search.switchToSelectiveSearchFast()
    else:
        search.switchToSelectiveSearchQuality()
    if sys.platform != "win32":
        ctypes.CDLL(None).srand(zlib.crc32(image.image_id.encode()))
    boxes = search.process().astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(axis=1)]
    return Proposals(image_id=image.image_id, boxes=torch.from_numpy(boxes))


def native(mode: str, order: str = "auto") -> Search:
    """Return the native search with all its boxes."""
    config = ProposalConfig(backend="native", mode=mode, order=order, max_boxes=0)
    return partial(propose, config=config)


METHODS: dict[str, Search] = {
    "cv2 fast, its order": partial(search_opencv, mode="fast"),
    REFERENCE: partial(search_opencv, mode="quality"),
    "native fast": native("fast"),
    "native paper_fast": native("paper_fast"),
    "native quality": native("quality"),
    "native quality, paper's order": native("quality", "paper"),
}


def search_all(record: Record, keep: Path | None) -> dict[str, tuple[np.ndarray, float]]:
    """Return each method's boxes of one image and its seconds, the methods in turn."""
    path = keep / f"{record.image_id}.npz" if keep else None
    if path and path.exists():
        with np.load(path) as kept:
            return {n: (kept[n], float(kept[f"{n} seconds"])) for n in METHODS}
    image = read_image(record.path, record.image_id)
    boxes_of = {}
    for name, search in METHODS.items():
        start = time.perf_counter()
        boxes = search(image).boxes.numpy()
        boxes_of[name] = boxes, time.perf_counter() - start
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {n: boxes for n, (boxes, _) in boxes_of.items()}
        seconds = {f"{n} seconds": np.float64(s) for n, (_, s) in boxes_of.items()}
        np.savez(path, **arrays, **seconds)
    return boxes_of


def measure(records: Sequence[Record], keep: Path | None) -> Results:
    """Return each method's recall and median seconds per image, on one thread."""
    boxes_of: dict[str, list[Proposals]] = {name: [] for name in METHODS}
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for record in track(records, len(records), "images"):
        for name, (boxes, its) in search_all(record, keep).items():
            boxes_of[name].append(
                Proposals(image_id=record.image_id, boxes=torch.from_numpy(boxes))
            )
            seconds[name].append(its)
    truths = [record.truth for record in records]
    return {
        name: (
            proposal_recall(truths, boxes_of[name], counts=COUNTS),
            statistics.median(seconds[name]),
        )
        for name in METHODS
    }


def shortfall(ours: RecallTable, theirs: RecallTable) -> float:
    """Return the largest shortfall of our recall; negative if it is always ahead."""
    return float((theirs.values - ours.values).max())


def summarise(results: Results) -> list[dict[str, Any]]:
    """Compare each native mode with OpenCV's quality mode."""
    reference, reference_seconds = results[REFERENCE]
    return [
        {
            "step": "proposals, recall against number of boxes",
            "ours": name,
            "against": REFERENCE,
            "ours_s": seconds,
            "against_s": reference_seconds,
            "ratio": reference_seconds / seconds,
            "reach": 1.0,
            "max_difference": shortfall(table, reference),
        }
        for name, (table, seconds) in results.items()
        if name.startswith("native")
    ]


def to_json(results: Results, split: str) -> dict[str, Any]:
    """Return everything the plot and the table show, as plain data."""
    table = results[REFERENCE][0]
    return {
        "split": split,
        "images": table.num_images,
        "objects": table.num_objects,
        "ious": table.ious,
        "counts": table.counts,
        "methods": {
            name: {
                "recall": table.values.tolist(),
                "overall": table.overall.tolist(),
                "boxes": table.mean_boxes,
                "seconds": seconds,
            }
            for name, (table, seconds) in results.items()
        },
        "comparisons": summarise(results),
    }


def plot(results: Results, path: Path) -> None:
    """Draw recall against number of boxes, one panel an IoU."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    counts = [*range(10, 100, 10), *range(100, 5001, 50)]
    table = results[REFERENCE][0]
    figure, panels = plt.subplots(1, len(table.ious), figsize=(11, 4.2), sharex=True)
    for row, (panel, threshold) in enumerate(zip(panels, table.ious, strict=True)):
        for name, (recall, seconds) in results.items():
            dashed = "--" if name.startswith("cv2") else "-"
            label = f"{name} ({1e3 * seconds:.0f} ms)"
            panel.plot(counts, recall.curve(counts)[row].tolist(), dashed, label=label)
        panel.set_xscale("log")
        panel.set_xlabel("boxes per image")
        panel.set_title(f"recall at IoU {threshold:g}")
        panel.grid(alpha=0.3)
    panels[-1].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--voc", type=Path, default=Path("data/VOCdevkit"), help="a VOC folder")
    parser.add_argument("--year", type=int, default=0)
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=0, help="the first n of the split; 0 for all")
    parser.add_argument("--out", type=Path, help="a folder for recall.json")
    parser.add_argument("--plot", type=Path, help="a file for the curves, .png or .svg")
    parser.add_argument("--keep", type=Path, help="a folder for what was found")
    parser.add_argument("--json", action="store_true", help="one JSON object a comparison")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    warm_up()
    dataset = read_voc(options.voc, options.split, year=options.year)
    records = dataset.records[: options.images or None]
    results = measure(records, options.keep)
    for name, (table, seconds) in results.items():
        if not options.json:
            print(f"{name}: {1e3 * seconds:.0f} ms an image\n{table.format()}\n")
    for line in summarise(results):
        behind = "behind" if line["max_difference"] > 0 else "ahead"
        text = (
            f"{line['ours']}: {line['ratio']:.1f}x faster than {line['against']}, recall at worst"
        )
        print(
            json.dumps(line)
            if options.json
            else f"{text} {-line['max_difference']:+.3f} ({behind})"
        )
    if options.out:
        write_json_atomic(options.out / "recall.json", to_json(results, dataset.name))
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
