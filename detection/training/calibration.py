"""Fit the probabilities of a detector, on training images that its classifier has not seen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from detection.config import Config
from detection.data.image_prefetch import read_ahead
from detection.detector import Detector
from detection.ensemble import Ensemble
from detection.evaluation.matching import IGNORED, TRUE_POSITIVE, match_detections
from detection.heads.calibration import Calibration, fit_calibration
from detection.heads.scorer import Scorer
from detection.io.progress import track
from detection.structures import Detections, GroundTruth, Record
from detection.training.examples import TrainingImages
from detection.training.randomness import stream
from detection.words import counted

_LOG = logging.getLogger(__name__)

IOU = 0.5
"""From this overlap with an object of its class a detection is right."""

Without = Callable[[frozenset[str]], Scorer]
"""Returns the scorer that is trained on all images but these."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Fold:
    """Images that a scorer has not seen."""

    records: Sequence[Record]
    scorer: Scorer


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class HeldOut:
    """What is known of the images that took no part in some stage.

    Attributes:
        of_all: that took part in none, as ``calibration.fraction`` asks for.
        of_network: that fine-tuning left out; None where the network was not fine-tuned.
    """

    of_all: Sequence[Record] = ()
    of_network: Sequence[Record] | None = None


def calibrate(
    detector: Detector, images: TrainingImages, held: HeldOut, without: Without | None
) -> Detector:
    """Return the detector with probabilities; as it is where none can be had honestly.

    Args:
        detector: trained.
        images: their features are those of the detector.
        held: what took no part in the training.
        without: trains the SVMs again without some images; None of a softmax.
    """
    config = detector.config
    if not config.calibration.enabled:
        return detector
    folds = list(_folds(detector.scorer, images, held, without, config))
    if not folds:
        _LOG.info(
            "no calibration: the classifier has seen every training image; set "
            "calibration.fraction 0.1 to hold some out"
        )
        return detector
    truths, detections = [], []
    for fold in folds:
        judge = replace(detector, scorer=fold.scorer)
        truths += [record.truth for record in fold.records]
        detections += list(_detect(judge, replace(images, records=fold.records)))
    calibration = fit(truths, detections, len(images.class_names))
    if calibration is None:
        count = counted(len(truths), "image")
        _LOG.info("no calibration: too few right or wrong detections in %s", count)
        return detector
    views = " in the views that detect averages" if config.postprocess.averages_views else ""
    message = "calibrated on %s%s: best F1 %.3f from probability %.3f on"
    count = counted(len(truths), "image")
    _LOG.info(message, count, views, calibration.f1, calibration.threshold)
    return replace(detector, calibration=calibration)


def fit(
    truths: Sequence[GroundTruth], detections: Sequence[Detections], num_classes: int
) -> Calibration | None:
    """Return the calibration of detections that can be judged; None where there are too few.

    Args:
        truths: one for each image.
        detections: of the images.
        num_classes: K.
    """
    matches = match_detections(truths, detections, num_classes, iou=IOU)
    counted = [match.outcomes != IGNORED for match in matches]
    return fit_calibration(
        [match.scores[kept] for match, kept in zip(matches, counted, strict=True)],
        [
            match.outcomes[kept] == TRUE_POSITIVE
            for match, kept in zip(matches, counted, strict=True)
        ],
        num_objects=sum(match.num_objects for match in matches),
        num_images=len(truths),
    )


def hold_out(records: Sequence[Record], config: Config) -> tuple[list[Record], list[Record]]:
    """Divide records as ``calibration.fraction`` asks for: (training, held out), in their order."""
    settings = config.calibration
    if not settings.enabled:
        return list(records), []
    chosen = _draw(len(records), round(settings.fraction * len(records)), settings.seed)
    return (
        [record for index, record in enumerate(records) if index not in chosen],
        [record for index, record in enumerate(records) if index in chosen],
    )


def _folds(
    scorer: Scorer,
    images: TrainingImages,
    held: HeldOut,
    without: Without | None,
    config: Config,
) -> Iterator[Fold]:
    """Yield folds, the scorer of each trained without them."""
    settings = config.calibration
    unseen = held.of_all or held.of_network
    if unseen:
        drawn = sorted(_draw(len(unseen), settings.max_images, settings.seed))
        records = [unseen[index] for index in drawn]
        if held.of_all or without is None:
            yield Fold(records=records, scorer=scorer)
        else:
            yield Fold(records=records, scorer=without(_ids(unseen)))
    elif held.of_network is None and without is not None:
        chosen = _draw(len(images.records), settings.max_images, settings.seed)
        drawn_records = [record for i, record in enumerate(images.records) if i in chosen]
        count = min(settings.folds, len(drawn_records))
        for number in range(count):
            records = drawn_records[number::count]
            yield Fold(records=records, scorer=without(_ids(records)))


def _ids(records: Sequence[Record]) -> frozenset[str]:
    return frozenset(record.image_id for record in records)


def _draw(count: int, most: int, seed: int) -> set[int]:
    """Draw at most so many of so many places."""
    order = torch.randperm(count, generator=stream(seed, "calibration"))
    return set(order[:most].tolist())


def _detect(detector: Detector, images: TrainingImages) -> Iterator[Detections]:
    """Yield the detections of training images, as they are found once the training is done."""
    count = len(images.records)
    if detector.config.postprocess.averages_views:
        views = Ensemble(
            class_names=detector.class_names, config=detector.config, members=(detector,)
        )
        read = read_ahead(images.records, max_pixels=images.source.max_pixels)
        for record, image in track(zip(images.records, read, strict=True), count, "calibration"):
            yield views.detect(image, images.proposals(record))
        return
    boxes = [images.proposals(record).boxes for record in images.records]
    features = images.source.pool5(images.records, boxes)  # those that training keeps
    rows = zip(images.records, boxes, features, strict=True)
    for record, its_boxes, pool5 in track(rows, count, "calibration"):
        with torch.no_grad():
            on_device = its_boxes.to(pool5.values.device)
            size = record.truth.size
            found = detector.detect_pooled(pool5, on_device, size, record.image_id)
        yield found
