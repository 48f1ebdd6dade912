"""The half of ``tide_check.py`` that runs in tidecv's environment: JSON in, JSON out."""

from __future__ import annotations

import json
import sys
from typing import Any

from tidecv import TIDE, Data
from tidecv.ap import APDataObject

KINDS = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")


def area(self: Any) -> float:
    """Return the area under the monotone curve in percent; tidecv samples 101 recalls."""
    if self.num_gt_positives == 0:
        return 0.0
    points = sorted(self.data_points.values(), key=lambda point: -point[0])
    right, curve = 0, []
    for rank, point in enumerate(points, start=1):
        right += bool(point[1])
        curve.append((right / self.num_gt_positives, right / rank))
    total, best, previous = 0.0, 0.0, None
    for recall, precision in reversed(curve):
        if previous is not None:
            total += (previous - recall) * best
        best, previous = max(best, precision), recall
    return 100 * (total + (previous or 0.0) * best)


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Return tidecv's mAP, the cost of each error type and the number of errors."""
    truth, detections = Data("truth", max_dets=100_000), Data("found", max_dets=100_000)
    for image, label, box, difficult in case["truths"]:
        add = truth.add_ignore_region if difficult else truth.add_ground_truth
        add(image, label, box)
    for image, label, box, score in case["detections"]:
        truth._make_default_image(image)  # or images without objects take no part
        detections.add_detection(image, label, score, box)
    run = TIDE().evaluate(truth, detections, mode=TIDE.BOX)
    costs = {error.short_name: value / 100 for error, value in run.fix_main_errors().items()}
    counts = {error.short_name: count for error, count in run.count_errors().items()}
    return {
        "ap": run.ap / 100,
        "delta": [costs[kind] for kind in KINDS],
        "count": [counts[kind] for kind in KINDS],
    }


case = json.load(sys.stdin)
answers = {"tidecv": measure(case)}
APDataObject.get_ap = area
answers["tidecv, area AP"] = measure(case)
json.dump(answers, sys.stdout)
