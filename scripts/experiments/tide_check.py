"""Compare the report's error types with those of tidecv, the package of TIDE's authors.

For example: ``tide_check.py --tide_python tide/bin/python [RUN ...]``, where ``tide`` is a virtual
environment that ``pip install tidecv==1.0.1`` went into: tidecv brings opencv-python, which would
take ``cv2.ximgproc`` away from the environment of this package.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detection.data.dataset import read_dataset
from detection.data.kept_lists import with_kept_lists
from detection.evaluation.error_types import ERROR_TYPES, error_types
from detection.evaluation.results import read_coco_json
from detection.runs.folder import read_run_config
from detection.structures import Detections, GroundTruth

Case = tuple[list[GroundTruth], list[Detections], int]

NUM_CLASSES, SIDE, CELL = 5, 400, 100
INSIDE = Path(__file__).with_name("tide_inside.py")


def random_case(seed: int, *, apart: bool, difficult: float = 0.0, images: int = 60) -> Case:
    """Draw objects, and boxes that are right, moved, of another class, doubled or on nothing.

    Args:
        seed: decides everything.
        apart: one object a cell of a grid, so that no box suits two; otherwise they overlap.
        difficult: the share of difficult objects.
        images: how many.
    """
    random = np.random.default_rng(seed)
    truths, detections = [], []
    for number in range(images):
        count = int(random.integers(0, 9))
        cells = random.permutation((SIDE // CELL) ** 2)[:count]
        corners = np.stack((cells % 4, cells // 4), axis=1) * float(CELL)
        if not apart:
            corners = random.uniform(0, SIDE / 3, (count, 2))
        boxes = np.hstack((corners, corners + random.uniform(50, 90, (count, 2))))
        labels = random.integers(0, NUM_CLASSES, count)
        truths.append(
            GroundTruth(
                image_id=str(number),
                size=(SIDE, SIDE),
                boxes=torch.tensor(boxes, dtype=torch.float32),
                labels=torch.tensor(labels),
                difficult=torch.tensor(random.uniform(size=count) < difficult),
            )
        )
        detections.append(_guesses(str(number), boxes, labels, random))
    return truths, detections, NUM_CLASSES


def _guesses(image_id: str, boxes: Any, labels: Any, random: np.random.Generator) -> Detections:
    """Return up to three boxes near each object, a third of a random class, and strays."""
    rows = np.repeat(np.arange(len(boxes)), random.integers(0, 4, len(boxes)))
    near = boxes[rows] + random.normal(size=(len(rows), 4)) * random.choice(
        [2, 8, 25], (len(rows), 1)
    )
    corners = random.uniform(0, SIDE - CELL, (int(random.integers(0, 5)), 2))
    strays = np.hstack((corners, corners + random.uniform(30, 90, corners.shape)))
    moved = np.vstack((near, strays))
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 5)
    classes = random.integers(0, NUM_CLASSES, len(moved))
    kept = np.flatnonzero(random.uniform(size=len(rows)) < 2 / 3)
    classes[kept] = labels[rows[kept]]
    return Detections(
        image_id=image_id,
        boxes=torch.tensor(moved, dtype=torch.float32),
        scores=torch.tensor(random.uniform(size=len(moved)), dtype=torch.float32),
        labels=torch.tensor(classes),
    )


def run_case(run: Path) -> Case:
    """Read what an evaluated run found, and what there was to find."""
    dataset = read_dataset(with_kept_lists(read_run_config(run).data, run), "test")
    detections = read_coco_json(run / "detections" / "coco.json")
    truths = [record.truth for record in dataset.records]
    return truths, list(detections.values()), len(dataset.class_names)


def ranked(case: Case) -> Case:
    """Return each score's rank from below: no ties and no negatives, which break tidecv."""
    truths, detections, num_classes = case
    scores = torch.cat([torch.zeros(0), *(f.scores for f in detections)])
    ranks = torch.empty(len(scores))
    ranks[scores.argsort(descending=True, stable=True)] = torch.arange(len(scores), 0.0, -1)
    parts = ranks.split([len(f.scores) for f in detections])
    return (
        truths,
        [replace(f, scores=p) for f, p in zip(detections, parts, strict=True)],
        num_classes,
    )


def without_difficult(case: Case) -> Case:
    """Leave difficult objects out; what lies on them is wrong then."""
    truths, detections, num_classes = case
    easy = [
        replace(t, boxes=t.boxes[k], labels=t.labels[k], difficult=t.difficult[k])
        for t, k in ((t, ~t.difficult) for t in truths)
    ]
    return easy, detections, num_classes


def as_json(case: Case) -> str:
    """Write a case as tidecv is to read it: x, y, width, height."""
    truths, detections, _ = case
    lists: dict[str, list[Any]] = {"truths": [], "detections": []}
    for truth in truths:
        corners = zip(
            truth.boxes.tolist(), truth.labels.tolist(), truth.difficult.tolist(), strict=True
        )
        lists["truths"] += [
            (truth.image_id, label, _xywh(box), hard) for box, label, hard in corners
        ]
    for guess in detections:
        corners = zip(
            guess.boxes.tolist(), guess.labels.tolist(), guess.scores.tolist(), strict=True
        )
        lists["detections"] += [(guess.image_id, label, _xywh(box), s) for box, label, s in corners]
    return json.dumps(lists)


def _xywh(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def compare(name: str, case: Case, tide_python: str) -> None:
    """Print both packages' lines for a case."""
    case = ranked(case)
    table = error_types(*case)
    ours = {
        "ap": table.ap,
        "delta": list(table.delta.values()),
        "count": list(table.count.values()),
    }
    answer = subprocess.run(  # the user's own interpreter
        [tide_python, str(INSIDE)], input=as_json(case), text=True, capture_output=True, check=True
    )
    theirs = json.loads(answer.stdout)
    print(name)
    for who, values in (("here", ours), *theirs.items()):
        costs = "".join(f"{100 * value:8.2f}" for value in values["delta"])
        counts = "".join(f" {count:5}" for count in values["count"])
        print(f"  {who:<22}{100 * values['ap']:7.2f} {costs}  {counts}")


def main() -> None:
    """Compare random cases, and then runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--tide_python", required=True, help="an interpreter that has tidecv")
    options = parser.parse_args()
    names = "".join(f"{name:>8}" for name in ERROR_TYPES)
    short = "".join(f"{name:>6}" for name in ERROR_TYPES)
    print(f"{'points of mAP, then counts':<24}{'AP':>7} {names}  {short}")
    compare("random, objects apart", random_case(0, apart=True), options.tide_python)
    compare("random, objects overlap", random_case(1, apart=False), options.tide_python)
    hard = random_case(2, apart=True, difficult=0.2)
    compare("random, a fifth difficult", hard, options.tide_python)
    for run in options.runs:
        compare(f"{run}, without difficult", without_difficult(run_case(run)), options.tide_python)
        compare(f"{run}", run_case(run), options.tide_python)


if __name__ == "__main__":
    main()
