"""Collect what the box regressors learn from, in bounded memory, and fit them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.config import BBoxConfig
from detection.heads.bbox_regressor import BBoxRegressors, fit_bbox_regressors
from detection.heads.normalisation import Normaliser
from detection.io.device import has_float64
from detection.training.examples import TrainingExample
from detection.training.row_store import Reservoir, RowStore, Store


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class BoxExamples:
    """RoIs that box regressors may learn from.

    Attributes:
        labels: the class of the object that each overlaps most.
        features: pool5, normalised, in float16.
        deltas: from the RoI to that object.
    """

    labels: Int[Tensor, " m"]
    features: Float[Tensor, "m d"]
    deltas: Float[Tensor, "m 4"]

    def tensors(self) -> dict[str, Tensor]:
        """Return them by name."""
        return {"labels": self.labels, "features": self.features, "deltas": self.deltas}

    @staticmethod
    def joined(parts: Sequence[BoxExamples]) -> BoxExamples:
        """Return the examples of several images, at least one, as one."""
        return BoxExamples(
            labels=torch.cat([part.labels for part in parts]),
            features=torch.cat([part.features for part in parts]),
            deltas=torch.cat([part.deltas for part in parts]),
        )


class BBoxExamples:
    """The RoIs of each class, or a uniform random sample of at most ``max_examples`` of them.

    Features are kept in float16, in host memory up to ``memory_gib`` and in temporary files beyond
    it, wherever they were computed; the normal equations are solved on the device that they came
    from.

    Args:
        num_classes: K.
        feature_dim: length of a pool5 vector.
        normaliser: of pool5.
        config: constants of the regressors.
        folder: for the temporary files; None takes the system's.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        normaliser: Normaliser,
        config: BBoxConfig,
        folder: Path | None = None,
    ) -> None:
        self.config = config
        self.normaliser = normaliser
        self._num_classes = num_classes
        self._device = torch.device("cpu")
        self._store: Store
        if config.max_examples:
            self._store = Reservoir(num_classes, feature_dim, config.max_examples, config.seed)
        else:
            memory = int(config.memory_gib * 2**30)
            self._store = RowStore(num_classes, feature_dim, memory, folder)

    def add(self, example: TrainingExample) -> BoxExamples:
        """Take the RoIs that overlap an object by more than ``min_iou``, objects included.

        Returns:
            What was taken, for ``put``.

        Source:
            Girshick et al. 2014, Appendix C: each goes to the class of the object it overlaps most.
        """
        chosen = (example.rois.best_iou > self.config.min_iou).nonzero().flatten()
        labels, deltas = example.rois.targets(chosen, self.config.inset)
        self._device = example.pool5.values.device
        values = example.pool5.values[example.pool5.rows[chosen.to(self._device)]]
        values = self.normaliser.scale(values).to("cpu", torch.float16)
        taken = BoxExamples(labels=labels, features=values, deltas=deltas)
        self.put(taken)
        return taken

    def put(self, examples: BoxExamples, device: torch.device | None = None) -> None:
        """Take examples again, in the order in which ``add`` returned them.

        Args:
            examples: of any number of images.
            device: where the features were computed; None where ``add`` saw it.
        """
        self._device = device or self._device
        rows = zip(examples.labels.tolist(), examples.features, examples.deltas, strict=True)
        for label, feature, delta in rows:
            self._store.add(label, feature, delta)

    def fit(self) -> BBoxRegressors:
        """Fit every class; a class without examples leaves boxes as they are.

        The normaliser is folded into the weights: the regressors read pool5 as it is.
        """
        device = self._device if has_float64(self._device) else torch.device("cpu")
        regressors = fit_bbox_regressors(self._classes(device), self.config)
        return regressors.scaled(self.normaliser.factor).to(self._device)

    def _classes(
        self, device: torch.device
    ) -> Iterator[tuple[Float[Tensor, "_ d"], Float[Tensor, "_ 4"]]]:
        """Yield the examples of each class, one at a time."""
        for label in range(self._num_classes):
            features, deltas = self._store.of(label)
            yield features, deltas.to(device)
