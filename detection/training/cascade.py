"""Fit a cascade to a trained detector: what its fc layers say of boxes of training images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.detector import Detector
from detection.errors import DataError
from detection.features.sppnet import SppExtractor
from detection.heads.cascade import Cascade, fit_score, level_spans, quantiles_of, read_columns
from detection.heads.scorer import SoftmaxScorer
from detection.io.progress import track
from detection.postprocess import multiclass_nms, select_candidates
from detection.structures import RoIFeatures, Size
from detection.training.examples import TrainingImages
from detection.training.randomness import stream

_LOG = logging.getLogger(__name__)

_ROWS = 64
"""Of an image: so many of the boxes that the detector is surest of, and as many random ones."""

_LEAST = 1e-5
"""Lower probabilities are no less sure."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Observed:
    """What the exact detector makes of one image.

    Attributes:
        features: columns of pool5 of some boxes.
        targets: how sure the detector is of the best class of each.
        final: columns of pool5 of the boxes that its detections come from.
    """

    features: Float[Tensor, "n d"]
    targets: Float[Tensor, " n"]
    final: Float[Tensor, "m d"]


def fit_cascade(detector: Detector, images: TrainingImages) -> Detector:
    """Return the detector with a cascade that is fitted to its own scores on training images.

    The thresholds come from images that the score did not see: two halves, each judged by the fit
    to the other. The score that is kept is fitted to both.

    Args:
        detector: trained; its features are those of the images.
        images: to fit to, at most ``cascade.max_images``, drawn at random.

    Raises:
        DataError: if the detector finds nothing in one of the halves.
    """
    config = detector.config.cascade
    order = torch.randperm(len(images.records), generator=stream(config.seed, "cascade"))
    # In the order of the drawing: halves of a list may differ where the list has an order.
    drawn = [images.records[i] for i in order[: config.max_images].tolist()]
    extractor = detector.extractor
    if not isinstance(extractor, SppExtractor):
        message = f"expected an SPPnet, got {type(extractor).__name__}"
        raise TypeError(message)
    spans = level_spans(extractor.network.channels, extractor.config.levels, config.levels)
    observed = list(
        _observe(replace(detector, cascade=None), replace(images, records=drawn), spans)
    )
    halves = [observed[0::2], observed[1::2]]
    scores = []
    for own, other in zip(halves, reversed(halves), strict=True):
        weight, bias = _fit(other)
        scores += [o.final @ weight + bias for o in own]
    final = torch.cat(scores) if scores else torch.zeros(0)
    if not len(final):
        message = (
            f"cascade: expected detections in {len(drawn)} training images, got none; raise "
            "cascade.max_images"
        )
        raise DataError(message)
    weight, bias = _fit(observed)
    _LOG.info("cascade: fitted to %d detections in %d images", len(final), len(drawn))
    fitted = Cascade(weight=weight, bias=bias, spans=spans, quantiles=quantiles_of(final))
    return replace(detector, cascade=fitted.to(detector.device))


def sureness(scores: Float[Tensor, "u k"], *, probabilities: bool) -> Float[Tensor, " u"]:
    """Return how sure the detector is of the best class: log-odds, or the SVM's score itself."""
    best = scores.amax(dim=1)
    return torch.logit(best, eps=_LEAST) if probabilities else best


def final_rows(
    detector: Detector, pool5: RoIFeatures, boxes: Float[Tensor, "r 4"], size: Size
) -> tuple[Float[Tensor, "u k"], Int[Tensor, " m"]]:
    """Return the scores of the distinct windows, and the boxes that final detections come from."""
    options = detector.config.postprocess
    fc7 = pool5.map(detector.fc)
    scores = fc7.map(detector.scorer.score)
    candidates = select_candidates(boxes, scores.expand(), options)
    moved = detector.regress(candidates, pool5, fc7, size)
    left = moved.at(moved.boxes.isfinite().all(dim=1))
    if options.second_nms:
        kept = multiclass_nms(
            left.boxes, left.scores, left.labels, options.nms_iou, ties=options.ties
        )
        left = left.at(kept)
    return scores.values, left.rows


def _observe(
    detector: Detector, images: TrainingImages, spans: Int[Tensor, "m 2"]
) -> Iterator[Observed]:
    boxes = [images.proposals(record).boxes for record in images.records]
    random = stream(detector.config.cascade.seed, "cascade boxes")
    probabilities = isinstance(detector.scorer, SoftmaxScorer)
    features = images.source.pool5(images.records, boxes)
    rows = zip(images.records, boxes, features, strict=True)
    for record, its_boxes, pool5 in track(rows, len(boxes), "cascade"):
        if not len(its_boxes):
            continue
        on_device = its_boxes.to(pool5.values.device)
        with torch.no_grad():
            scores, final = final_rows(detector, pool5, on_device, record.truth.size)
        sure = sureness(scores, probabilities=probabilities).cpu()
        best = sure.argsort(descending=True, stable=True)[:_ROWS]
        drawn = torch.randperm(len(sure), generator=random)[:_ROWS]
        chosen = torch.unique(torch.cat((best, drawn)))
        values = pool5.values
        yield Observed(
            features=read_columns(values[chosen.to(values.device)], spans).cpu(),
            targets=sure[chosen],
            final=read_columns(values[pool5.rows[final]], spans).cpu(),
        )


def _fit(observed: list[Observed]) -> tuple[Float[Tensor, " d"], Float[Tensor, ""]]:
    """Fit the score to all of these images.

    Raises:
        DataError: if there is none.
    """
    if not observed:
        message = "cascade: expected two training images with boxes or more, got fewer"
        raise DataError(message)
    features = torch.cat([o.features for o in observed])
    return fit_score(features, torch.cat([o.targets for o in observed]))
