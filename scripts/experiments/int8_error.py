"""How far off fc6 in 8 bits is, by what shares a scale: the boxes of an image, a box, a box's map.

``int8_error.py runs/mine --images 30 --data.test_split fold`` prints the relative error of fc6
and the error of the scores, both root mean squares over the boxes, against float32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from cascade_loss import with_options

from detection.data.dataset import read_dataset
from detection.data.image_prefetch import read_ahead
from detection.detector import Detector
from detection.heads.fast_fc import whole_products
from detection.heads.fc import FcHead
from detection.heads.int8_fc import ByteRows, round_weights, scale_sums
from detection.heads.layer import FcLayer
from detection.model_io import load_detector
from detection.proposals.dataset import propose_dataset


def shared_scale(head: FcHead, x: Tensor) -> Tensor:
    """Return fc6 in 8 bits with one scale for all rows."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    step = ((high - low) / 255).clamp(min=1e-12)
    zero = (-low / step).round()
    values = (x / step + zero).round().clamp(0, 255).to(torch.uint8)
    rows = ByteRows(values=values, steps=step.expand(len(x)), zeros=zero.expand(len(x)))
    weight, bias = head.fc6.weight.detach(), head.fc6.bias.detach()
    (weights,) = round_weights(weight, bias, limit=127, relu=True)
    return scale_sums(whole_products(weights.values)(values), rows, weights)


def in_every_way(detector: Detector, x: Tensor) -> dict[str, Tensor]:
    """Return fc6 of the boxes of an image, exact first."""
    fc = detector.fc
    if not isinstance(fc, FcLayer) or fc.layer != "fc6":
        message = "run: expected a detector whose scorer reads fc6, got another"
        raise SystemExit(message)
    with torch.no_grad():
        return {
            "float32": replace(fc, fast=None)(x),
            "a scale for the image": shared_scale(fc.head, x),
            "a scale for each box": replace(fc, groups=()).prepared("int8")(x),
            "a scale for each box and map": fc.prepared("int8")(x),
        }


def measure(detector: Detector, images: int) -> dict[str, tuple[float, float]]:
    """Return the errors of fc6 and of the scores in each way."""
    config = detector.config
    dataset = read_dataset(config.data, "test", class_names=detector.class_names)
    records = dataset.records[:: max(1, len(dataset.records) // images)][:images]
    dataset = replace(dataset, records=records)
    store = propose_dataset(dataset, config.proposals, Path(config.proposals.folder))
    outputs: dict[str, list[Tensor]] = {}
    for record, image in zip(
        records, read_ahead(records, max_pixels=config.data.max_pixels), strict=True
    ):
        boxes = store.load(record)
        if boxes is not None:
            with torch.no_grad():
                pool5 = detector.extractor.extract(image, boxes.boxes).values
            for name, its in in_every_way(detector, pool5).items():
                outputs.setdefault(name, []).append(its)
    exact, *others = (torch.cat(its) for its in outputs.values())
    scores = detector.scorer.score(exact)
    return {
        name: (
            float((its - exact).norm() / exact.norm()),
            float((detector.scorer.score(its) - scores).square().mean().sqrt()),
        )
        for name, its in zip(list(outputs)[1:], others, strict=True)
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path, help="the run folder of a detector with fc6")
    parser.add_argument("--images", type=int, default=30)
    options, words = parser.parse_known_args(arguments)
    detector = with_options(load_detector(options.run), words)
    for name, (fc6, scores) in measure(detector, options.images).items():
        print(f"{name}: fc6 {fc6:.2%}, scores {scores:.5f}")


if __name__ == "__main__":
    main()
