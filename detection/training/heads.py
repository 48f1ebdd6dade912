"""The SVMs and the box regressors of either method, from two passes over the training images."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detection.config import BBoxConfig, SvmConfig
from detection.heads.bbox_regressor import BBoxRegressors
from detection.heads.mining import HardNegativeMiner
from detection.heads.normalisation import Normaliser, fit_normaliser
from detection.heads.scorer import SvmScorer
from detection.runs.progress import track
from detection.training.bbox_regressors import BBoxExamples
from detection.training.examples import TrainingImages
from detection.training.rois import max_by_row

_LOG = logging.getLogger(__name__)

Layer = Callable[[Float[Tensor, "u d"]], Float[Tensor, "u f"]]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TrainedHeads:
    """What the two passes give.

    Attributes:
        scorer: of the layer that the SVMs read.
        regressors: reading pool5; None where they are switched off.
    """

    scorer: SvmScorer
    regressors: BBoxRegressors | None


def fit_normalisers(
    images: TrainingImages, fc: Layer, svm: SvmConfig, bbox: BBoxConfig
) -> tuple[Normaliser, Normaliser]:
    """Give the factors for the SVMs' layer and for pool5.

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
    images: TrainingImages, fc: Layer, svm: SvmConfig, bbox: BBoxConfig
) -> TrainedHeads:
    """Train one SVM and one box regressor a class (RC §2.3 and Appendix C, SPP §4.1).

    Args:
        images: with their proposals and features.
        fc: from pool5 to the layer that the SVMs read.
        svm: constants of the SVMs.
        bbox: constants of the regressors.

    Raises:
        DataError: naming a class without examples.
    """
    normaliser, pool5_normaliser = fit_normalisers(images, fc, svm, bbox)
    _LOG.info(
        "features scaled by %.4g (SVMs), %.4g (pool5)", normaliser.factor, pool5_normaliser.factor
    )
    objects = track(images.objects(), len(images.records), "objects")
    values, labels = [], []
    for example in objects:
        values.append(normaliser.scale(example.pool5.map(fc).expand()))
        labels.append(example.rois.gt_labels)
    num_classes = len(images.class_names)
    miner = HardNegativeMiner(
        torch.cat(values), torch.cat(labels), num_classes, svm, class_names=images.class_names
    )
    dim = images.source.extractor.feature_dim
    moved = BBoxExamples(num_classes, dim, pool5_normaliser, bbox) if bbox.enabled else None
    for example in track(images.examples(), len(images.records), "hard negatives"):
        features = example.pool5.map(fc)
        max_iou = max_by_row(example.rois.max_iou, features.rows, len(features.values))
        miner.add(example.record.image_id, normaliser.scale(features.values), max_iou)
        if moved is not None:
            moved.add(example)
    scorer = SvmScorer(normaliser=normaliser, svms=miner.finish())
    return TrainedHeads(scorer=scorer, regressors=moved.fit() if moved is not None else None)
