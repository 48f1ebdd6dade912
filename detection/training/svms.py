"""The SVMs and the box regressors of either method, from two passes over the training images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detection.config import BBoxConfig, SvmConfig
from detection.heads.bbox_regressor import BBoxRegressors
from detection.heads.hard_negatives import HardNegativeMiner
from detection.heads.normalisation import Normaliser, fit_normaliser
from detection.heads.scorer import Scorer, SvmScorer
from detection.io.progress import track
from detection.training.bbox_targets import BBoxExamples
from detection.training.examples import TrainingExample, TrainingImages
from detection.training.rois import max_by_row

_LOG = logging.getLogger(__name__)

Sample = tuple[str, Float[Tensor, "u d"], Float[Tensor, "u k"]]
"""An image, the distinct feature rows of its boxes, and their largest IoU for each class."""

HeadLayer = Callable[[Float[Tensor, "u d"]], Float[Tensor, "u f"]]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TrainedHeads:
    """The result of the two passes.

    Attributes:
        scorer: of the layer that it reads, SVMs unless there was another.
        regressors: reading pool5; None where they are switched off.
    """

    scorer: Scorer
    regressors: BBoxRegressors | None


def fit_normalisers(
    images: TrainingImages, fc: HeadLayer, svm: SvmConfig, bbox: BBoxConfig
) -> tuple[Normaliser, Normaliser]:
    """Return the normalisers of the SVMs' layer and of pool5.

    Source:
        The released code: the mean norm of random boxes of random images is scaled to 20.
    """
    pool5_norms, fc_norms = [], []
    for pool5 in images.sample(svm.norm_images, svm.norm_boxes, svm.seed):
        pool5_norms.append(pool5.expand().norm(dim=1))
        fc_norms.append(pool5.map(fc).expand().norm(dim=1))
    return (
        fit_normaliser(torch.cat(fc_norms), svm.feature_norm),
        fit_normaliser(torch.cat(pool5_norms), bbox.feature_norm),
    )


def train_heads(
    images: TrainingImages,
    fc: HeadLayer,
    svm: SvmConfig,
    bbox: BBoxConfig,
    scorer: Scorer | None = None,
) -> TrainedHeads:
    """Train one SVM and one box regressor per class (RC §2.3 and Appendix C, SPP §4.1).

    Args:
        images: with their proposals and features.
        fc: from pool5 to the layer that the SVMs read.
        svm: constants of the SVMs.
        bbox: constants of the regressors.
        scorer: an existing classifier, instead of SVMs.

    Raises:
        DataError: naming a class without examples.
    """
    if scorer is not None and not bbox.enabled:
        return TrainedHeads(scorer=scorer, regressors=None)
    normaliser, pool5_normaliser = fit_normalisers(images, fc, svm, bbox)
    _LOG.info(
        "features scaled by %.4g (SVMs), %.4g (pool5)", normaliser.factor, pool5_normaliser.factor
    )
    num_classes, dim = len(images.class_names), images.source.extractor.feature_dim
    scores = FixedScorer(scorer) if scorer is not None else SvmTraining(images, fc, normaliser, svm)
    moved = BBoxExamples(num_classes, dim, pool5_normaliser, bbox) if bbox.enabled else None
    for example in track(images.examples(), len(images.records), "examples"):
        scores.add(example)
        if moved is not None:
            moved.add(example)
    regressors = moved.fit() if moved is not None else None
    return TrainedHeads(scorer=scores.finish(), regressors=regressors)


class SvmTraining:
    """Hard-negative mining on the layer that the SVMs read; it has seen every object already."""

    def __init__(
        self, images: TrainingImages, fc: HeadLayer, normaliser: Normaliser, config: SvmConfig
    ) -> None:
        self._fc = fc
        self._normaliser = normaliser
        values, labels = [], []
        positives = images.positives(config.positive_iou)
        for pool5, its_labels in track(positives, len(images.records), "objects"):
            values.append(normaliser.scale(pool5.map(fc).expand()))
            labels.append(its_labels.to(values[-1].device))
        self._miner = HardNegativeMiner(
            torch.cat(values),
            torch.cat(labels),
            len(images.class_names),
            config,
            class_names=images.class_names,
        )
        if config.random_negatives:
            self._miner.start(self._samples(images, config))

    def _samples(self, images: TrainingImages, config: SvmConfig) -> Iterator[Sample]:
        drawn = images.random_boxes(config.random_negatives, config.seed)
        for example in track(drawn, len(images.records), "random negatives"):
            yield self._rows(example)

    def _rows(self, example: TrainingExample) -> Sample:
        features = example.pool5.map(self._fc)
        max_iou = max_by_row(example.rois.max_iou, features.rows, len(features.values))
        return example.record.image_id, self._normaliser.scale(features.values), max_iou

    def add(self, example: TrainingExample) -> None:
        """Take the hard negatives of one image."""
        self._miner.add(*self._rows(example))

    def finish(self) -> Scorer:
        """Return the SVMs."""
        return SvmScorer(normaliser=self._normaliser, svms=self._miner.finish())


class FixedScorer:
    """A classifier that is already trained."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def add(self, example: TrainingExample) -> None:
        """Ignore an image."""

    def finish(self) -> Scorer:
        """Return the classifier."""
        return self._scorer
