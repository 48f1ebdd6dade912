"""What the scorer learns in the pass over the training images: SVMs, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.config import SvmConfig
from detection.heads.hard_negatives import HardNegativeMiner
from detection.heads.normalisation import Normaliser
from detection.heads.scorer import Scorer, SvmScorer
from detection.io.progress import track
from detection.training.examples import TrainingExample, TrainingImages
from detection.training.mining_checkpoint import Part
from detection.training.rois import apart, max_by_row

Sample = tuple[str, Float[Tensor, "u d"], Float[Tensor, "u k"]]
"""An image, the distinct feature rows of its boxes, and their largest IoU for each class."""

_NEVER = -1e6

HeadLayer = Callable[[Float[Tensor, "u d"]], Float[Tensor, "u f"]]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Objects:
    """The SVMs' positives.

    Attributes:
        features: scaled, rounded as the SVMs read them.
        labels: 0..K-1, on the same device.
        images: place of the image of each among the records, on the same device.
    """

    features: Float[Tensor, "p d"]
    labels: Int[Tensor, " p"]
    images: Int[Tensor, " p"]


def objects_of(
    images: TrainingImages, fc: HeadLayer, normaliser: Normaliser, config: SvmConfig
) -> Objects:
    """Return the positives of all images."""
    values, labels, places = [], [], []
    place_of = {record.image_id: place for place, record in enumerate(images.records)}
    positives = images.positives(config.positive_iou)
    for record, pool5, its_labels in track(positives, len(images.records), "objects"):
        values.append(normaliser.scale(pool5.map(fc).expand()))
        labels.append(its_labels.to(values[-1].device))
        places.append(torch.full_like(labels[-1], place_of[record.image_id]))
    return Objects(
        features=torch.cat(values).to(torch.bfloat16),
        labels=torch.cat(labels),
        images=torch.cat(places),
    )


class SvmTraining:
    """Hard-negative mining on the layer that the SVMs read; it has seen every object already.

    Args:
        objects: the positives of all images.
        images: to take the negatives from.
        fc: from pool5 to the layer that the SVMs read.
        normaliser: of that layer.
        config: constants of the SVMs.
        measured: compute the objective of each training, for those who listen.
    """

    def __init__(
        self,
        objects: Objects,
        images: TrainingImages,
        fc: HeadLayer,
        normaliser: Normaliser,
        config: SvmConfig,
        *,
        measured: bool = False,
    ) -> None:
        self._fc = fc
        self._normaliser = normaliser
        self._config = config
        device = images.source.extractor.device
        self._image_ids = [record.image_id for record in images.records]
        self._objects = Objects(
            features=objects.features.to(device),
            labels=objects.labels.to(device),
            images=objects.images.to(device),
        )
        self._miner = HardNegativeMiner(
            self._objects.features,
            self._objects.labels,
            len(images.class_names),
            config,
            class_names=images.class_names,
            measured=measured,
        )

    @property
    def retrainings(self) -> int:
        """How often the SVMs were trained."""
        return self._miner.retrainings

    @property
    def metrics(self) -> dict[str, float]:
        """How far the training is; the objective where it is measured or logged."""
        counts: dict[str, float] = {
            "retrainings": self.retrainings,
            "negatives": len(self._miner.cache),
        }
        objective = self._miner.objective
        return counts if objective is None else {**counts, "objective": objective}

    def begin(self, images: TrainingImages) -> None:
        """Train on random negatives first, where that is configured."""
        if self._config.random_negatives:
            self._miner.start(self._samples(images))

    def fixed(self) -> dict[str, Tensor]:
        """Return what no image changes."""
        own = self._objects
        return {"features": own.features, "labels": own.labels, "images": own.images}

    def state(self) -> Part:
        """Return what images change."""
        tensors, values = self._miner.state()
        return Part(tensors=tensors, values=values)

    def restore(self, state: Part) -> None:
        """Take over what ``state`` returned."""
        self._miner.restore(state.tensors, state.values)

    def _samples(self, images: TrainingImages) -> Iterator[Sample]:
        drawn = images.random_boxes(self._config.random_negatives, self._config.seed)
        for example in track(drawn, len(images.records), "random negatives"):
            yield self._rows(example)

    def _rows(self, example: TrainingExample) -> Sample:
        features, rois = example.pool5.map(self._fc), example.rois
        max_iou = max_by_row(rois.max_iou, features.rows, len(features.values))
        if self._config.negative_overlap < 1:
            negative = rois.max_iou < self._config.negative_iou
            kept = apart(rois.boxes, negative, self._config.negative_overlap)
            kept_rows = max_by_row(kept.double(), features.rows, len(features.values)) > 0
            # what dropped out is no negative, as if it were an object
            max_iou = torch.where(kept_rows, max_iou, torch.ones_like(max_iou))
        return example.record.image_id, self._normaliser.scale(features.values), max_iou

    def add(self, example: TrainingExample) -> None:
        """Take the hard negatives of one image."""
        self._miner.add(*self._rows(example))

    def without(self, image_ids: frozenset[str]) -> Scorer:
        """Return SVMs that are trained on the cached examples of all images but these.

        A class without examples elsewhere scores everything far below any threshold.
        """
        own = torch.tensor([name in image_ids for name in self._image_ids])
        places = self._objects.images
        svms, known = self._miner.without(image_ids, own.to(places.device)[places])
        bias = torch.where(known, svms.bias, _NEVER)
        return SvmScorer(normaliser=self._normaliser, svms=replace(svms, bias=bias))

    def finish(self) -> Scorer:
        """Return the SVMs."""
        return SvmScorer(normaliser=self._normaliser, svms=self._miner.finish())


class FixedScorer:
    """A classifier that is already trained: no image changes it."""

    retrainings = 0

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    @property
    def metrics(self) -> dict[str, float]:
        """How often it was trained: never."""
        return {"retrainings": self.retrainings}

    def begin(self, images: TrainingImages) -> None:
        """Do nothing before the first image."""

    def fixed(self) -> dict[str, Tensor]:
        """Return nothing to save."""
        return {}

    def state(self) -> Part:
        """Return nothing to save."""
        return Part()

    def restore(self, state: Part) -> None:
        """Take over nothing."""

    def add(self, example: TrainingExample) -> None:
        """Ignore an image."""

    def finish(self) -> Scorer:
        """Return the classifier."""
        return self._scorer
