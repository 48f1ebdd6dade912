"""Selective search of this package against OpenCV's, on the same images.

``max_difference`` is the fraction of OpenCV's boxes that no box of ours matches at IoU 0.7. Without
a folder of images the images are drawn.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from comparison import Candidate, Comparison, compare

from detection.boxes import iou
from detection.data.images import EXTENSIONS, read_image
from detection.data.synthetic import synthesize
from detection.proposals.opencv import segmentation_module
from detection.proposals.selective_search.native import selective_search

MIN_SIDE = 20
Boxes = list[np.ndarray]


def read_photographs(folder: Path | None, number: int) -> Boxes:
    """Read images spread evenly over a folder, or draw some."""
    with tempfile.TemporaryDirectory() as drawn:
        if folder is None:
            synthesize(Path(drawn), train_images=number, test_images=1)
            folder = Path(drawn) / "JPEGImages"
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
        step = max(len(paths) // number, 1)
        return [read_image(path).pixels.numpy() for path in paths[::step][:number]]


def search_opencv(images: Boxes, mode: str) -> Boxes:
    """Search all images with OpenCV; return the boxes of at least 20 pixels."""
    search = segmentation_module().createSelectiveSearchSegmentation()
    rects = []
    for pixels in images:
        search.setBaseImage(np.ascontiguousarray(pixels[:, :, ::-1]))
        if mode == "fast":
            search.switchToSelectiveSearchFast()
        else:
            search.switchToSelectiveSearchQuality()
        boxes = search.process().astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        rects.append(boxes[(boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(axis=1)])
    return rects


def search_native(images: Boxes, mode: str, threads: int) -> Boxes:
    """Search all images with the native backend."""
    return [selective_search(pixels, mode=mode, threads=threads) for pixels in images]


def unmatched(ours: Boxes, theirs: Boxes) -> float:
    """Return the fraction of their boxes that none of ours overlaps by 0.7 or more."""
    best = [
        iou(torch.from_numpy(b), torch.from_numpy(a)).max(dim=1).values
        for a, b in zip(ours, theirs, strict=True)
    ]
    return float((torch.cat(best) < 0.7).float().mean())


def compare_modes(images: Boxes, repeats: int) -> list[Comparison]:
    """Compare the fast mode, then the two slower ones with OpenCV's quality mode."""

    def native(mode: str, threads: int, reach: float) -> Candidate:
        name = f"native {mode}, {threads} thread{'s' * (threads > 1)}"
        return Candidate(name=name, run=partial(search_native, images, mode, threads), reach=reach)

    def opencv(mode: str) -> Candidate:
        return Candidate(name=f"cv2 {mode}", run=partial(search_opencv, images, mode))

    run: Callable[..., list[Comparison]] = partial(compare, difference=unmatched)
    what = f"selective search, {len(images)} images"
    fast = [native("fast", 1, 8.0), native("fast", 2, 14.0)]
    slow = [
        native(mode, threads, threads - 1.0)
        for mode in ("paper_fast", "quality")
        for threads in (1, 2)
    ]
    return [
        *run(what, opencv("fast"), fast, repeats=repeats),
        *run(f"{what}, quality", opencv("quality"), slow, repeats=max(repeats // 2, 1)),
    ]


def report(comparisons: Sequence[Comparison], images: Boxes, as_json: bool) -> None:
    """Print JSON lines, or a table."""
    number = len(images)
    if as_json:
        for comparison in comparisons:
            line = asdict(comparison)
            line["matched_at_iou_0.7"] = 1 - comparison.max_difference
            print(json.dumps({**line, "images": number, "opencv": cv2.__version__}))
        return
    mean = sum(image.shape[0] * image.shape[1] for image in images) / number / 1e6
    print(f"{number} images of {mean:.2f} megapixels, cv2 {cv2.__version__}; medians an image")
    print(f"{'ours':28}{'ms':>8} {'against':>12}{'ms':>8}{'ratio':>8}{'goal':>7}{'matched':>9}")
    for c in comparisons:
        print(
            f"{c.ours:28}{1e3 * c.ours_s / number:8.1f} {c.against:>12}"
            f"{1e3 * c.against_s / number:8.0f}{c.ratio:7.1f}x{c.reach:6.1f}x"
            f"{1 - c.max_difference:9.3f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--photographs", type=Path, help="a folder of images")
    parser.add_argument("--images", type=int, default=6, help="how many of them")
    parser.add_argument("--repeats", type=int, default=7, help="alternating runs of each")
    parser.add_argument("--json", action="store_true", help="one JSON object a comparison")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # of its filters; its selective search uses one thread in any case
    images = read_photographs(options.photographs, options.images)
    report(compare_modes(images, options.repeats), images, options.json)


if __name__ == "__main__":
    main()
