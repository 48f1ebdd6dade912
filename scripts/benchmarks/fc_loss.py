"""The mAP that each faster form of fc6 and fc7 costs, on the test images of a trained detector.

The pooled features of an image are computed once and classified by every form, so that nothing else
differs. ``ours_s`` and ``against_s`` hold the mAP (11-point, in percent) with the form and with
float32, ``max_difference`` what is lost. Train a detector that has fc layers first, for example by
``configs/subset_sppnet_squeezenet_fc.yaml``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from comparison import Comparison, show
from fc import NAMES

from detection.config import Config
from detection.data.dataset import read_dataset
from detection.data.image_prefetch import read_ahead
from detection.detector import Detector
from detection.errors import ConfigError
from detection.evaluation.results import metrics
from detection.heads.layer import FcLayer
from detection.io.progress import track
from detection.model_io import load_detector
from detection.proposals.dataset import propose_dataset
from detection.structures import Dataset, Detections, Image, Proposals

REFERENCE = "torch.nn.Linear, float32"


def in_every_form(detector: Detector) -> dict[str, Detector]:
    """Return the detector with its fc layers as trained, and in each faster form.

    Raises:
        ConfigError: if it has none.
    """
    fc = detector.fc
    if not isinstance(fc, FcLayer):
        message = "run: expected a detector whose SVMs or softmax read fc6 or fc7, got pool5"
        raise ConfigError(message)
    forms = {NAMES[kind]: fc.prepared(kind) for kind in NAMES}
    plain = replace(fc, fast=None)
    return {name: replace(detector, fc=its) for name, its in {REFERENCE: plain, **forms}.items()}


def detect_by_all(
    detectors: dict[str, Detector], image: Image, proposals: Proposals
) -> Iterator[tuple[str, Detections]]:
    """Return the detections of each detector from the same pooled features."""
    boxes = proposals.boxes
    with torch.no_grad():
        pool5 = next(iter(detectors.values())).extractor.extract(image, boxes)
        for name, detector in detectors.items():
            yield name, detector.detect_pooled(pool5, boxes, image.size, image.image_id)


def detect_all(
    detectors: dict[str, Detector], config: Config
) -> tuple[Dataset, dict[str, list[Detections]]]:
    """Return the test images and what each detector finds in them."""
    class_names = next(iter(detectors.values())).class_names
    dataset = read_dataset(config.data, "test", class_names=class_names)
    store = propose_dataset(dataset, config.proposals, Path(config.proposals.folder))
    detections: dict[str, list[Detections]] = {name: [] for name in detectors}
    images = read_ahead(dataset.records, max_pixels=config.data.max_pixels)
    pairs = zip(dataset.records, images, strict=True)
    for record, image in track(pairs, len(dataset.records), "detect"):
        proposals = store.load(record)
        if proposals is not None:
            for name, its in detect_by_all(detectors, image, proposals):
                detections[name].append(its)
    return dataset, detections


def measure(detectors: dict[str, Detector], config: Config) -> dict[str, float]:
    """Return the mAP of each on the test images, in percent."""
    dataset, detections = detect_all(detectors, config)
    class_names = dataset.class_names
    truths = [record.truth for record in dataset.records]
    method, split = config.features.method, dataset.split
    rules = replace(config.evaluation, bootstrap=0)
    return {
        name: 100
        * metrics(truths, its, class_names, method=method, split=split, config=rules)["map"][
            "voc07"
        ]
        for name, its in detections.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("run", type=Path, help="the run folder of a trained detector")
    parser.add_argument("--max-boxes", type=int, default=0, help="of an image; 0 for all")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="one JSON object a comparison")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    detector = load_detector(options.run)
    config = detector.config
    config = replace(config, proposals=replace(config.proposals, max_boxes=options.max_boxes))
    values = measure(in_every_form(detector), config)
    reference = values.pop(REFERENCE)
    lines = [
        Comparison(
            step="mAP with fc6 and fc7",
            ours=name,
            against=REFERENCE,
            ours_s=value,
            against_s=reference,
            ratio=value / reference,
            reach=0.0,
            max_difference=reference - value,
        )
        for name, value in values.items()
    ]
    show(lines, options.json, "%")


if __name__ == "__main__":
    main()
