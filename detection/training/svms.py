"""The SVMs and the box regressors of either method, from two passes over the training images."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace

import torch

from detection.config import BBoxConfig, SvmConfig
from detection.heads.bbox_regressor import BBoxRegressors
from detection.heads.normalisation import Normaliser, fit_normaliser
from detection.heads.scorer import Scorer
from detection.io.progress import track
from detection.training.bbox_targets import BBoxExamples, BoxExamples
from detection.training.calibration import Without
from detection.training.events import SILENT, Announcer
from detection.training.examples import TrainingExample, TrainingImages
from detection.training.loop import GracefulStop
from detection.training.mining_checkpoint import MiningCheckpoints, MiningState, Part
from detection.training.svm_training import (
    FixedScorer,
    HeadLayer,
    Objects,
    SvmTraining,
    objects_of,
)

_LOG = logging.getLogger(__name__)

_NAMES = ("svm_factor", "pool5_factor")


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TrainedHeads:
    """The result of the two passes.

    Attributes:
        scorer: of the layer that it reads, SVMs unless there was another.
        regressors: reading pool5; None where they are switched off.
        without: trains the SVMs again without some images; None of another scorer.
    """

    scorer: Scorer
    regressors: BBoxRegressors | None
    without: Without | None = None


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
    checkpoints: MiningCheckpoints | None = None,
    announce: Announcer = SILENT,
) -> TrainedHeads:
    """Train one SVM and one box regressor per class (RC §2.3 and Appendix C, SPP §4.1).

    Law: stopping anywhere, however hard, and going on from the checkpoint ends with the same heads,
    bit for bit, as never stopping.

    Args:
        images: with their proposals and features.
        fc: from pool5 to the layer that the SVMs read.
        svm: constants of the SVMs.
        bbox: constants of the regressors.
        scorer: an existing classifier, instead of SVMs.
        checkpoints: of this pass; None writes none.
        announce: is told of each image.

    Raises:
        DataError: naming a class without examples.
        SystemExit: with checkpoints, 143 after SIGTERM and 130 after SIGINT, the state saved.
    """
    if scorer is not None and not bbox.enabled:
        return TrainedHeads(scorer=scorer, regressors=None)
    saved = checkpoints.load() if checkpoints else None
    if saved is None:
        normaliser, pool5_normaliser = fit_normalisers(images, fc, svm, bbox)
    else:
        normaliser, pool5_normaliser = (Normaliser(factor=saved.started.values[n]) for n in _NAMES)
    factors = (normaliser.factor, pool5_normaliser.factor)
    _LOG.info("features scaled by %.4g (SVMs), %.4g (pool5)", *factors)
    scores: SvmTraining | FixedScorer
    if scorer is not None:
        scores = FixedScorer(scorer)
    else:
        found = None if saved is None else Objects(**saved.started.tensors)
        objects = found or objects_of(images, fc, normaliser, svm)
        scores = SvmTraining(objects, images, fc, normaliser, svm, measured=announce.heard)
    num_classes, dim = len(images.class_names), images.source.extractor.feature_dim
    moved = None
    if bbox.enabled:
        folder = checkpoints.folder if checkpoints else None
        moved = BBoxExamples(num_classes, dim, pool5_normaliser, bbox, folder)
    training = HeadTraining(scores, moved, checkpoints, announce)
    if saved is None:
        training.start(dict(zip(_NAMES, factors, strict=True)))
    training.run(images, saved)
    regressors = moved.fit() if moved is not None else None
    if regressors is not None:
        announce("box regression", 1, 1, {"examples": training.num_moved})
    finished = scores.finish()
    if isinstance(scores, SvmTraining):
        announce("svms", 1, 1, scores.metrics)
    without = scores.without if isinstance(scores, SvmTraining) else None
    return TrainedHeads(scorer=finished, regressors=regressors, without=without)


class HeadTraining:
    """The pass over the training images, and its checkpoints.

    Args:
        scores: what the scorer learns.
        moved: what the box regressors learn from; None without them.
        checkpoints: None writes none.
        announce: is told of each image.
    """

    def __init__(
        self,
        scores: SvmTraining | FixedScorer,
        moved: BBoxExamples | None,
        checkpoints: MiningCheckpoints | None,
        announce: Announcer = SILENT,
    ) -> None:
        self._announce = announce
        self._scores = scores
        self._moved = moved
        self._checkpoints = checkpoints
        self._fresh: list[BoxExamples] = []
        self.num_moved = 0

    def start(self, factors: dict[str, float]) -> None:
        """Save what does not change any more, of a pass that starts."""
        if self._checkpoints:
            self._checkpoints.start(Part(tensors=self._scores.fixed(), values=factors))

    def run(self, images: TrainingImages, saved: MiningState | None) -> None:
        """See every image that was not seen before the pass was interrupted."""
        if saved is not None:
            self._restore(saved, images.source.extractor.device)
        if saved is None or saved.state is None:
            self._scores.begin(images)
            self._save(0)
        first, count = (saved.images if saved else 0), len(images.records)
        left = replace(images, records=images.records[first:])
        with GracefulStop() if self._checkpoints else contextlib.nullcontext() as stop:
            examples = track(left.examples(), count - first, "examples")
            for done, example in enumerate(examples, first + 1):
                self._add(example)
                signalled = stop.signal if stop else 0
                if signalled or done == count or self._due():
                    self._save(done)
                self._announce("mining", done, count, self._scores.metrics)
                if signalled:
                    message = "stopped by signal %d after image %d; state saved"
                    _LOG.warning(message, signalled, done)
                    raise SystemExit(128 + signalled)

    def _add(self, example: TrainingExample) -> None:
        self._scores.add(example)
        if self._moved is not None:
            taken = self._moved.add(example)
            self.num_moved += len(taken.labels)
            if self._checkpoints and len(taken.labels):
                self._fresh.append(taken)

    def _due(self) -> bool:
        return self._checkpoints is not None and self._checkpoints.due(self._scores.retrainings)

    def _save(self, images: int) -> None:
        if self._checkpoints is None:
            return
        examples = BoxExamples.joined(self._fresh).tensors() if self._fresh else {}
        self._checkpoints.save(images, self._scores.retrainings, self._scores.state(), examples)
        self._fresh.clear()

    def _restore(self, saved: MiningState, device: torch.device) -> None:
        if saved.state is not None:
            self._scores.restore(saved.state)
        if self._moved is not None:
            for tensors in saved.examples:
                self._moved.put(BoxExamples(**tensors), device)
                self.num_moved += len(tensors["labels"])
