"""Would scoring the moved boxes a second time help?

The best boxes of an image are moved by the regressors, pooled again from the same maps, scored and
moved again, as Gidaris and Komodakis (arXiv 1505.01749, §3.3) do; or their scores are averaged over
windows around them. Prints the mAP of each way with its difference to one round, paired over the
images. Reads a run of SPPnet with a softmax and its test images; boxes are those that are stored.

    python scripts/experiments/second_round.py runs/fold
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from detection.boxes import clip
from detection.data.dataset import read_dataset
from detection.data.images import read_image
from detection.detector import Detector
from detection.evaluation.bootstrap import bootstrap_difference
from detection.evaluation.coco_ap import evaluate_coco
from detection.evaluation.matching import match_detections
from detection.evaluation.voc_ap import evaluate_voc
from detection.model_io import load_detector
from detection.postprocess import Candidates, finalize, select_candidates
from detection.proposals.dataset import propose_dataset
from detection.runs.folder import read_run_config
from detection.structures import Detections, FeatureMap, Image, RoIFeatures

BEST = 300
"""Candidates of an image that are scored again."""
SMALLER, LARGER = 0.85, 1.2
"""Windows around a box, times its sides."""

Ways = dict[str, Candidates]


def scored(
    detector: Detector, maps: Sequence[FeatureMap], boxes: Float[Tensor, "r 4"]
) -> tuple[RoIFeatures, RoIFeatures, Float[Tensor, "r k"]]:
    """Return pool5, what the scorer reads, and the scores of boxes."""
    pool5 = detector.extractor.pool(maps, boxes)
    top = pool5.map(detector.fc)
    return pool5, top, top.map(detector.scorer.score).expand()


def around(
    boxes: Float[Tensor, "n 4"], factor: float, size: tuple[int, int]
) -> Float[Tensor, "n 4"]:
    """Return boxes of the same centres with sides times a factor, inside the image."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = factor * (boxes[:, 2:] - boxes[:, :2]) / 2
    return clip(torch.cat((centre - half, centre + half), dim=1), size)


def joined(first: Candidates, second: Candidates) -> Candidates:
    """Return the candidates of both."""
    return Candidates(
        rows=torch.cat((first.rows, second.rows)),
        boxes=torch.cat((first.boxes, second.boxes)),
        scores=torch.cat((first.scores, second.scores)),
        labels=torch.cat((first.labels, second.labels)),
    )


def ways(detector: Detector, image: Image, boxes: Float[Tensor, "r 4"]) -> Ways:
    """Return the candidates of one image after one round, and after two of several kinds."""
    options = detector.config.postprocess
    maps = detector.extractor.encode_image(image)
    pool5, top, scores = scored(detector, maps, boxes)
    one = detector.regress(select_candidates(boxes, scores, options), pool5, top, image.size)
    best = one.scores.argsort(descending=True, stable=True)[:BEST]
    rest = torch.ones(len(one.scores), dtype=torch.bool)
    rest[best] = False
    first, others = one.at(best), one.at(rest)
    rows = torch.arange(len(best))
    pool5, top, scores = scored(detector, maps, first.boxes)
    again = replace(first, rows=rows, scores=scores[rows, first.labels])
    second = detector.regress(again, pool5, top, image.size)
    near = [
        scored(detector, maps, around(first.boxes, factor, image.size))[2][rows, first.labels]
        for factor in (SMALLER, LARGER)
    ]
    both = (first.scores + second.scores) / 2
    four = (first.scores + second.scores + near[0] + near[1]) / 4
    return {
        "one round": one,
        "both rounds together": joined(one, second),
        "the second instead": joined(others, second),
        "its boxes, the mean of both scores": joined(others, replace(second, scores=both)),
        "its boxes, the first scores": joined(others, replace(first, boxes=second.boxes)),
        "its scores averaged in": joined(others, replace(first, scores=both)),
        "and those of two windows around": joined(others, replace(second, scores=four)),
    }


def main(run: Path) -> None:
    """Detect, score and print."""
    detector, config = load_detector(run), read_run_config(run)
    options = replace(config.postprocess, first_nms=False, soft_sigma=0.3)
    detector = detector.with_config(replace(config, postprocess=options))
    dataset = read_dataset(config.data, "test", class_names=detector.class_names)
    store = propose_dataset(dataset, config.proposals, Path(config.proposals.folder))
    found: dict[str, list[Detections]] = {}
    with torch.no_grad():
        for record in dataset.records:
            image, proposals = read_image(record.path, record.image_id), store.load(record)
            if proposals is not None:
                for name, candidates in ways(detector, image, proposals.boxes).items():
                    own = finalize(candidates, options, image_id=record.image_id)
                    found.setdefault(name, []).append(own)
    truths, names = [record.truth for record in dataset.records], dataset.class_names
    reference = match_detections(truths, found["one round"], len(names))
    print("| | mAP, 11-point | COCO | against one round, paired |\n|---|---|---|---|")
    for name, its in found.items():
        voc, coco = (
            100 * x
            for x in (evaluate_voc(truths, its, names).map, evaluate_coco(truths, its, names).ap)
        )
        edges = bootstrap_difference(reference, match_detections(truths, its, len(names)))
        low, high = (100 * edge for edge in edges)
        print(f"| {name} | {voc:.1f} | {coco:.1f} | {low:+.1f} to {high:+.1f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
