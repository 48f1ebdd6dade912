"""A trained detector on the test images of a data set."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from detection.backbones.own import Trunk
from detection.config import Config
from detection.data.dataset import read_dataset, unreadable
from detection.data.image_prefetch import read_ahead, read_ahead_or_none
from detection.data.kept_lists import with_kept_lists
from detection.detector import Detector
from detection.ensemble import Ensemble, combine
from detection.errors import ConfigError
from detection.evaluation.calibration import calibration_metrics
from detection.evaluation.diagnosis import diagnose
from detection.evaluation.hoiem import similar_classes
from detection.evaluation.results import format_table, metrics, write_results
from detection.heads.layer import FcLayer
from detection.io.progress import track
from detection.model_io import load_detector
from detection.proposals.dataset import propose_dataset
from detection.proposals.store import ProposalStore
from detection.runs.config_io import config_to_dict
from detection.runs.folder import reopen_run
from detection.runs.skipped import write_skipped
from detection.structures import Dataset, Detections
from detection.training.events import TrainingEvent
from detection.training.trackers import Trackers

_LOG = logging.getLogger(__name__)


def evaluate(
    run_folder: Path,
    config: Config,
    out: Path | None = None,
    others: Sequence[Path] = (),
    *,
    backbone: nn.Module | Trunk | None = None,
    trackers: Sequence[Any] = (),
) -> dict[str, Any]:
    """Detect on every test image and score the detections; return what ``metrics.json`` holds.

    Args:
        run_folder: of a trained detector.
        config: the run's own, with departures in ``data``, ``proposals``, ``postprocess`` and
            ``evaluation`` (another split, another threshold).
        out: where to write metrics and detections; None writes into the run folder.
        others: more runs whose detectors are combined with this one's; then ``out`` is needed.
        backbone: the network of one's own that the runs were trained with.
        trackers: names of experiment trackers, or trackers, as `train` takes them.

    Raises:
        DetectionError: naming what a user can mend.
    """
    if others and out is None:
        message = "--out: expected a folder for the results of several runs together, got none"
        raise ConfigError(message)
    tracked = Trackers(trackers, out or run_folder)
    with reopen_run(run_folder) as run:
        if config.data.lists == run.config.data.lists:
            config = replace(config, data=with_kept_lists(config.data, run.path))
        paths = [run.model, *others]
        device = config.features.device
        members = [load_detector(path, device=device, backbone=backbone) for path in paths]
        detector = combine(members, config)
        _require_same_classes(config, detector.class_names)
        similar_classes(detector.class_names, config.evaluation.similar_classes)  # now, not at last
        dataset, store = _read_and_propose(config, detector.class_names)
        missed = unreadable(dataset, store.failed)
        target = out or run.path
        write_skipped(target, {dataset.split: (*dataset.skipped, *missed)})
        detections = list(
            track(detect_dataset(detector, dataset, store), len(dataset.records), "detect")
        )
        truths = [record.truth for record in dataset.records]
        values = metrics(
            truths,
            detections,
            detector.class_names,
            method=" + ".join(member.config.features.method for member in members),
            split=dataset.split,
            config=config.evaluation,
            terms=dataset.coco,
        )
        values["diagnosis"] = diagnose(truths, detections, detector.class_names, config.evaluation)
        if detector.calibration is not None:
            values["calibration"] = calibration_metrics(
                truths, detections, len(detector.class_names), config.evaluation.iou
            ) | {"threshold": detector.calibration.threshold}
        # Probabilities may be equal where scores are not: files that are scored again rank by these
        detections = [replace(one, probabilities=None) for one in detections]
        values |= {"dataset": dataset.name, "config": config_to_dict(config)}
        starts = {m.fc.head.start for m in members if isinstance(m.fc, FcLayer)}
        values |= {"fc_start": " + ".join(sorted(starts))} if starts else {}
        if dataset.coco is not None:
            values["category_ids"] = list(dataset.coco.category_ids)
        write_results(target, values, detections, detector.class_names, dataset.coco)
        with tracked:
            numbers = tracked_numbers(values)
            tracked(TrainingEvent(stage="evaluation", step=1, total=1, metrics=numbers))
        _LOG.info("%s", format_table(values))
    return values


def tracked_numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a metrics.json that experiment trackers plot."""
    low, high = values["interval"] or (None, None)
    numbers = {f"map_{rule}": mean for rule, mean in values["map"].items()}
    numbers |= {"map_voc07_low": low, "map_voc07_high": high}
    numbers |= {f"ap_{name}": row["voc07"] for name, row in values["per_class"].items()}
    if "calibration" in values:
        numbers["calibration_error"] = values["calibration"]["ece"]
    return {name: float(value) for name, value in numbers.items() if value is not None}


def _read_and_propose(config: Config, class_names: Sequence[str]) -> tuple[Dataset, ProposalStore]:
    """Return the test images and their proposals; none may fail, unless that counts as missed."""
    allow_missing = config.evaluation.allow_missing
    dataset = read_dataset(
        config.data, "test", class_names=class_names, allow_missing=allow_missing
    )
    store = propose_dataset(
        dataset,
        config.proposals,
        Path(config.proposals.folder),
        max_pixels=config.data.max_pixels,
        max_failed=1.0 if allow_missing else 0.0,
    )
    return dataset, store


def _require_same_classes(config: Config, class_names: tuple[str, ...]) -> None:
    """Stop where another order of the classes was asked for than the detector's labels have.

    Raises:
        ConfigError: naming both orders.
    """
    asked = config.data.class_names
    if config.data.drop_empty_classes:
        asked = tuple(name for name in asked if name in class_names)
    if asked and asked != class_names:
        message = (
            f"data.class_names: expected the classes of the trained detector in their order, "
            f"{','.join(class_names)}, got {','.join(asked)}; leave the option out"
        )
        raise ConfigError(message)


def detect_dataset(
    detector: Detector | Ensemble, dataset: Dataset, store: ProposalStore
) -> Iterator[Detections]:
    """Return the detections of every image, in order, from the stored proposals.

    An image that cannot be read, where that is allowed, has none.

    Args:
        detector: trained.
        dataset: of which images.
        store: their proposals.
    """
    config = detector.config
    read = read_ahead_or_none if config.evaluation.allow_missing else read_ahead
    images = read(dataset.records, max_pixels=config.data.max_pixels)
    for record, image in zip(dataset.records, images, strict=True):
        if image is None:
            yield Detections.none(record.image_id)
        else:
            yield detector.detect(image, store.load(record))
