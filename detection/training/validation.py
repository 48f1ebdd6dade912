"""The mean average precision of a network that is being fine-tuned, on the images held out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from detection.config import Config, FineTuneConfig
from detection.detector import Detector
from detection.errors import DataError
from detection.evaluation.voc_ap import evaluate_voc
from detection.structures import Detections, Record
from detection.training.distributed import Workers
from detection.training.examples import TrainingImages
from detection.training.feature_cache import FrozenMaps
from detection.training.finetune_model import FineTuneModel
from detection.words import counted

_LOG = logging.getLogger(__name__)

_LEAST_SCORE = 0.001
"""Softmax scores below change no average precision worth speaking of, and cost the suppression."""


def map_steps(config: FineTuneConfig, num_images: int) -> frozenset[int]:
    """Return after how many iterations the mAP is measured; the last one is always among them.

    Args:
        config: its epochs already turned into iterations.
        num_images: in an epoch.
    """
    every = config.validate_map_every
    if not every:
        return frozenset()
    period = every * num_images / config.images_per_batch if config.epochs else float(every)
    times = range(1, int(config.iterations / period) + 1)
    steps = {max(round(number * period), 1) for number in times}
    return frozenset({step for step in steps if step < config.iterations} | {config.iterations})


class MapValidation:
    """Detects on held-out training images with a network as it is, from its own classifier.

    The maps of the frozen layers are kept in memory; the sizes of the images are those of test
    time. SVMs do not exist yet: the softmax scores, and the jointly trained regressors move the
    boxes where there are any.

    Args:
        network: what is trained.
        deltas: mean and deviation of the regression targets.
        images: with their proposals.
        records: those held out.
        config: how is detected, and how scores count.

    Raises:
        DataError: if no object is in the held-out images.
    """

    def __init__(
        self,
        network: FineTuneModel,
        deltas: tuple[Float[Tensor, " 4"], Float[Tensor, " 4"]],
        images: TrainingImages,
        records: Sequence[Record],
        config: Config,
    ) -> None:
        objects = sum(int((~record.truth.difficult).sum()) for record in records)
        if not objects:
            message = (
                "finetune.validate_map_every: expected objects to find in the held-out images, got "
                f"none in {len(records)}; raise finetune.validation_fraction"
            )
            raise DataError(message)
        self._network, self._deltas = network, deltas
        self._images, self._records, self._config = images, records, _lenient(config)
        self._maps = FrozenMaps(
            network.extractor.with_scales(config.features.scales),
            records,
            max_pixels=config.data.max_pixels,
            budget=int(config.features.memory_gib * 2**30),
            dtype=getattr(torch, config.finetune.map_dtype),
        )

    def measure(self, step: int, workers: Workers) -> float:
        """Return the mAP, the same in all processes: one measures, the others wait.

        Args:
            step: how many iterations were done.
            workers: the processes that train together.
        """
        value = torch.zeros(1, device=self._network.fc8.weight.device)
        if workers.is_main:
            value += self._map()
            message = "step %d: mAP %.4f (11 points) on %s"
            images = counted(len(self._records), "held-out image")
            _LOG.info(message, step, float(value), images)
        return float(workers.sum(value))

    def _map(self) -> float:
        truths = [record.truth for record in self._records]
        names = self._images.class_names
        iou = self._config.evaluation.iou
        return evaluate_voc(truths, list(self._detections()), names, iou=iou).map

    def _detections(self) -> Iterator[Detections]:
        """Yield what the network finds in each image."""
        self._network.eval()
        extractor = self._maps.extractor
        detector = self._detector()
        for index, record in enumerate(self._records):
            boxes = self._images.proposals(record).boxes.to(extractor.device)
            with torch.no_grad():
                maps = extractor.run_trainable(self._maps.of(index, flipped=False))
                pool5 = extractor.pool(maps, boxes)
                found = detector.detect_pooled(pool5, boxes, record.truth.size, record.image_id)
            yield found

    def _detector(self) -> Detector:
        """Return the network as a detector that reads its weights as they are now."""
        return Detector(
            class_names=self._images.class_names,
            config=self._config,
            extractor=self._maps.extractor,
            fc=lambda pool5: self._network.top(pool5).float(),
            scorer=self._network.scorer(),
            regressors=self._network.regressors(*self._deltas),
        )


def _lenient(config: Config) -> Config:
    """Return the configuration with a threshold for softmax scores, which are never negative."""
    options = config.postprocess
    least = max(options.score_threshold, _LEAST_SCORE)
    return replace(config, postprocess=replace(options, score_threshold=least))
