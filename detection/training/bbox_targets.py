"""Collect what the box regressors learn from, in bounded memory, and fit them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.config import BBoxConfig
from detection.heads.bbox_regressor import BBoxRegressors, fit_bbox_regressors
from detection.heads.normalisation import Normaliser
from detection.io.device import has_float64
from detection.training.examples import TrainingExample


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
    """A uniform random sample of at most ``max_examples`` RoIs of each class.

    Features are kept in float16 in host memory, wherever they were computed; the normal equations
    are solved on the device that they came from.

    Args:
        num_classes: K.
        feature_dim: length of a pool5 vector.
        normaliser: of pool5.
        config: constants of the regressors.
    """

    def __init__(
        self, num_classes: int, feature_dim: int, normaliser: Normaliser, config: BBoxConfig
    ) -> None:
        self.feature_dim = feature_dim
        self.config = config
        self.normaliser = normaliser
        self._device = torch.device("cpu")
        self._random = torch.Generator().manual_seed(config.seed)
        self._seen = [0] * num_classes
        self._features: list[list[Tensor]] = [[] for _ in range(num_classes)]
        self._deltas: list[list[Tensor]] = [[] for _ in range(num_classes)]

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
            self._put(label, feature, delta)

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
        """Yield the sample of each class, one at a time: stacking copies it."""
        for features, deltas in zip(self._features, self._deltas, strict=True):
            if features:
                yield torch.stack(features), torch.stack(deltas).to(device)
            else:
                yield torch.zeros(0, self.feature_dim), torch.zeros(0, 4)

    def _put(self, label: int, feature: Float[Tensor, " d"], delta: Float[Tensor, " 4"]) -> None:
        """Reservoir sampling: each RoI seen so far is kept with the same probability."""
        self._seen[label] += 1
        rows, deltas = self._features[label], self._deltas[label]
        if len(rows) < self.config.max_examples:
            rows.append(feature.clone())
            deltas.append(delta)
            return
        slot = int(torch.randint(self._seen[label], (1,), generator=self._random))
        if slot < len(rows):
            rows[slot], deltas[slot] = feature.clone(), delta
