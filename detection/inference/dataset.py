"""A trained detector on the test images of a data set."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from detection.inference.shards import (
    FOLDER,
    Recipe,
    Sharding,
    detections_from_row,
    detections_to_row,
    loaded,
    make_recipe,
)
from detection.io.progress import track
from detection.io.shards import Parallel, Row, connected, file_key, run_shards
from detection.model_io import load_detector
from detection.proposals.dataset import propose_dataset
from detection.proposals.store import ProposalStore
from detection.runs.config_io import config_to_dict
from detection.runs.folder import reopen_run
from detection.runs.skipped import write_skipped
from detection.structures import Dataset, Detections, Record
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
    parallel: Parallel | None = None,
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
        parallel: where workers search and detect; their shards stay in ``shards`` beside the
            results, and a second call does what is missing there. None takes this process.

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
        with connected(parallel or Parallel()):
            dataset, store = _read_and_propose(config, detector.class_names, parallel)
            target = out or run.path
            missed = unreadable(dataset, store.failed)
            write_skipped(target, {dataset.split: (*dataset.skipped, *missed)})
            if parallel is None:
                rows = detect_dataset(detector, dataset, store)
                detections = list(track(rows, len(dataset.records), "detect"))
            else:
                sharding = Sharding(runs=tuple(paths), parallel=parallel)
                detections = list(detect_in_shards(detector, dataset, store, target, sharding))
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
        _LOG.info("%s", format_table(values))
        with tracked:
            numbers = tracked_numbers(values)
            tracked(TrainingEvent(stage="evaluation", step=1, total=1, metrics=numbers))
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


def _read_and_propose(
    config: Config, class_names: Sequence[str], parallel: Parallel | None
) -> tuple[Dataset, ProposalStore]:
    """Return the test images and their proposals; none may fail, unless that counts as missed."""
    allow_missing = config.evaluation.allow_missing
    dataset = read_dataset(
        config.data, "test", class_names=class_names, allow_missing=allow_missing
    )
    folder = Path(config.proposals.folder)
    store = propose_dataset(
        dataset,
        config.proposals,
        folder if parallel is None else folder.absolute(),
        max_pixels=config.data.max_pixels,
        max_failed=1.0 if allow_missing else 0.0,
        parallel=parallel,
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
    return detect_records(detector, dataset.records, store)


def detect_records(
    detector: Detector | Ensemble, records: Sequence[Record], store: ProposalStore
) -> Iterator[Detections]:
    """Do for a list of records what `detect_dataset` does for a data set."""
    config = detector.config
    read = read_ahead_or_none if config.evaluation.allow_missing else read_ahead
    images = read(records, max_pixels=config.data.max_pixels)
    for record, image in zip(records, images, strict=True):
        if image is None:
            yield Detections.none(record.image_id)
        else:
            yield detector.detect(image, store.load(record))


def detect_in_shards(
    detector: Detector | Ensemble,
    dataset: Dataset,
    store: ProposalStore,
    out: Path,
    sharding: Sharding,
) -> Iterator[Detections]:
    """Return the detections of every image, in order, from workers and from shards that are there.

    Args:
        detector: what the workers load as well.
        dataset: of which images.
        store: their proposals, in a folder that all workers see.
        out: folder of the results.
        sharding: the detector's files, and where the workers are.
    """
    recipe = make_recipe(sharding.runs, detector.config, work="evaluate")
    records = [replace(record, path=record.path.absolute()) for record in dataset.records]
    rows = run_shards(
        functools.partial(detect_shard, recipe, store),
        records,
        [file_key(record.path, record.image_id) for record in records],
        out / FOLDER,
        fingerprint=recipe.fingerprint,
        parallel=sharding.parallel,
        description="detect",
    )
    return (detections_from_row(row, detector.class_names) for row in rows)


def detect_shard(recipe: Recipe, store: ProposalStore, records: Sequence[Record]) -> Iterable[Row]:
    """Return the rows of a shard; called in a worker.

    Args:
        recipe: of the detector.
        store: the proposals.
        records: the images of the shard.
    """
    with loaded(recipe) as detector:
        found = detect_records(detector, records, store)
        return [detections_to_row(one) for one in found]
