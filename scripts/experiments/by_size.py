"""How well do runs find small, middling and large objects?

Prints the 11-point mean average precision at IoU 0.5 of each evaluated run for three ranges of the
side of an object, ``sqrt(area)`` in pixels of the image. Objects outside the range count as
difficult ones do; detections outside it count only where they overlap an object inside it.

    python scripts/experiments/by_size.py runs/subset_sppnet_300 runs/subset_rcnn_300
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from detection.boxes import area, iou
from detection.data.dataset import read_dataset
from detection.data.kept_lists import with_kept_lists
from detection.evaluation.results import read_coco_json
from detection.evaluation.voc_ap import evaluate_voc
from detection.runs.folder import read_run_config
from detection.structures import Detections, GroundTruth

RANGES = {"side below 96": (0, 96), "96 to 200": (96, 200), "200 and more": (200, float("inf"))}


def within(boxes: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Say which boxes have their side in a range."""
    side = area(boxes).sqrt()
    return (side >= low) & (side < high)


def of_size(
    truth: GroundTruth, guesses: Detections, low: float, high: float
) -> tuple[GroundTruth, Detections]:
    """Return the objects and detections of one image that count for a range of sizes."""
    inside = within(truth.boxes, low, high)
    overlap = iou(guesses.boxes, truth.boxes) >= 0.5
    same = guesses.labels[:, None] == truth.labels
    keep = within(guesses.boxes, low, high) | (overlap & same & inside).any(dim=1)
    detections = replace(
        guesses, boxes=guesses.boxes[keep], scores=guesses.scores[keep], labels=guesses.labels[keep]
    )
    return replace(truth, difficult=truth.difficult | ~inside), detections


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("runs", type=Path, nargs="+", help="evaluated run folders")
    print(f"| run | {' | '.join(RANGES)} |\n|---|{'---|' * len(RANGES)}")
    for run in parser.parse_args().runs:
        test = read_dataset(with_kept_lists(read_run_config(run).data, run), "test")
        detections = read_coco_json(run / "detections" / "coco.json")
        cells = []
        for low, high in RANGES.values():
            pairs = []
            for record in test.records:
                none = Detections.none(record.image_id)
                pairs.append(
                    of_size(record.truth, detections.get(record.image_id, none), low, high)
                )
            truths, guesses = zip(*pairs, strict=True)
            result = evaluate_voc(truths, guesses, test.class_names)
            cells.append(f"{100 * result.map:.1f} ({sum(result.num_objects)} objects)")
        print(f"| {run.name} | {' | '.join(cells)} |")
