"""What would soft-NMS, or another threshold of NMS, give?

Reads what `evaluate` wrote of a run without suppression and suppresses it by each rule: the greedy
NMS of both papers at several overlaps, and soft-NMS (Bodla et al., arXiv 1704.04503), which lowers
the score of an overlapping box instead of dropping the box. Prints the 11-point mAP of each rule
and its difference to the first with its paired 95% interval over images.

    detection evaluate runs/fold --postprocess.first_nms false --postprocess.second_nms false \
      --postprocess.max_per_class 2000 --out runs/candidates
    python scripts/experiments/suppression.py runs/fold runs/candidates
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from detection.boxes import iou
from detection.data.dataset import read_dataset
from detection.data.kept_lists import with_kept_lists
from detection.evaluation.bootstrap import bootstrap_difference
from detection.evaluation.matching import match_detections
from detection.evaluation.results import read_coco_json
from detection.evaluation.voc_ap import evaluate_voc
from detection.postprocess import multiclass_nms
from detection.runs.folder import read_run_config
from detection.structures import Detections

Rule = Callable[[Detections], Detections]


def hard(found: Detections, overlap: float) -> Detections:
    """Return what per-class greedy NMS keeps."""
    kept = multiclass_nms(found.boxes, found.scores, found.labels, overlap)
    return _at(found, kept, found.scores[kept])


def soft(
    found: Detections, decay: Callable[[Float[Tensor, " n"]], Float[Tensor, " n"]], floor: float
) -> Detections:
    """Return all boxes with scores that soft-NMS has lowered, without those below a floor.

    Args:
        found: of one image.
        decay: overlap with a better box -> factor of the score.
        floor: scores below it are dropped.
    """
    scores = found.scores.clone()
    for label in found.labels.unique().tolist():
        rows = (found.labels == label).nonzero().flatten()
        overlaps = iou(found.boxes[rows], found.boxes[rows])
        left = scores[rows].clone()
        waiting = torch.ones(len(rows), dtype=torch.bool)
        for _ in range(len(rows)):
            best = int(torch.where(waiting, left, -torch.inf).argmax())
            if left[best] < floor:
                break
            waiting[best] = False
            left = torch.where(waiting, left * decay(overlaps[best]), left)
        scores[rows] = left
    kept = (scores >= floor).nonzero().flatten()
    return _at(found, kept, scores[kept])


def linear(overlap: Float[Tensor, " n"], above: float) -> Float[Tensor, " n"]:
    """Return 1 - IoU where it is above a threshold (the paper's equation 2)."""
    return torch.where(overlap > above, 1 - overlap, 1.0)


def gaussian(overlap: Float[Tensor, " n"], sigma: float) -> Float[Tensor, " n"]:
    """Return exp(-IoU^2 / sigma) (the paper's equation 3)."""
    return torch.exp(-(overlap**2) / sigma)


def _at(found: Detections, rows: Tensor, scores: Tensor) -> Detections:
    best = scores.argsort(descending=True, stable=True)
    return replace(
        found,
        boxes=found.boxes[rows[best]],
        scores=scores[best],
        labels=found.labels[rows[best]],
    )


def rules(floor: float) -> dict[str, Rule]:
    """Return what is tried, the one to compare with first."""
    softly = {
        **{f"soft, linear above {t}": partial(linear, above=t) for t in (0.3, 0.5)},
        **{f"soft, Gaussian, sigma {s}": partial(gaussian, sigma=s) for s in (0.1, 0.3, 0.5)},
    }
    return {
        **{f"NMS at {overlap}": partial(hard, overlap=overlap) for overlap in OVERLAPS},
        **{name: partial(soft, decay=decay, floor=floor) for name, decay in softly.items()},
    }


OVERLAPS = (0.35, 0.25, 0.3, 0.4, 0.45, 0.5)


def main(run: Path, evaluated: Path, floor: float) -> None:
    """Print the table."""
    test = read_dataset(with_kept_lists(read_run_config(run).data, run), "test")
    candidates = list(read_coco_json(evaluated / "detections" / "coco.json").values())
    truths = [record.truth for record in test.records]
    first = None
    print("| rule | mAP, 11-point | against the first, paired |\n|---|---|---|")
    for name, rule in rules(floor).items():
        found: Sequence[Detections] = [rule(image) for image in candidates]
        score = evaluate_voc(truths, found, test.class_names).map
        matched = match_detections(truths, found, len(test.class_names))
        low, high = (0.0, 0.0) if first is None else bootstrap_difference(first, matched)
        first = matched if first is None else first
        print(f"| {name} | {100 * score:.1f} | {100 * low:+.1f} to {100 * high:+.1f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path, help="the run folder, for its data")
    parser.add_argument("candidates", type=Path, help="its evaluation without suppression")
    parser.add_argument("--floor", type=float, default=0.005, help="of the scores kept")
    arguments = parser.parse_args()
    main(arguments.run, arguments.candidates, arguments.floor)
