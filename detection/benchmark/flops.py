"""Floating-point operations of each stage that has many: conv and fc."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from detection.detector import Detector
from detection.heads.layer import FcLayer
from detection.structures import Image, Proposals
from detection.training.svm_training import HeadLayer


def count_flops(detector: Detector, image: Image, proposals: Proposals) -> dict[str, float]:
    """Return the floating-point operations of the conv and fc layers for one image.

    A multiplication and an addition count as two. The cost of a further box is the difference
    between two boxes and one, so that each method is counted by the same rule: SPPnet's conv layers
    do not depend on the boxes, R-CNN's run once for each.

    Args:
        detector: of either method.
        image: the image.
        proposals: its boxes, two or more.
    """
    boxes = proposals.boxes
    with torch.inference_mode():
        one, two = (
            _count(lambda n=n: detector.extractor.extract(image, boxes[:n]))  # type: ignore[misc]
            for n in (1, 2)
        )
        row = detector.extractor.extract(image, boxes[:1]).values
        fc = _count(lambda: _unpacked(detector.fc)(row))
    further = len(boxes) - 1
    return {"conv": float(one + (two - one) * further), "fc": float(fc * len(boxes))}


def _unpacked(fc: HeadLayer) -> HeadLayer:
    """Return the fc layers as they were trained: the counter knows no faster form of them."""
    return replace(fc, fast=None) if isinstance(fc, FcLayer) else fc


def _count(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())
