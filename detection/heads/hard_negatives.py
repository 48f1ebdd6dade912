"""Hard-negative mining: the SVMs see all positives and those negatives that they find hard.

One pass over the training images (RC §2.3, Appendix B; the released spp_train.m). A row of features
is cached once, with the set of classes that it is a hard negative of, so that the newton solver
trains all classes on the same matrix: when one class has enough new negatives, all are retrained.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detection.config import SvmConfig
from detection.errors import DataError
from detection.heads.negative_cache import NegativeCache
from detection.heads.svm import Svms, fit_linear_svms, svm_objective
from detection.io.device import storage_for
from detection.words import counted

logger = logging.getLogger(__name__)

_SAMPLE = "sample of "
"""In front of the names of images of which a few boxes were drawn first."""


class HardNegativeMiner:
    """Trains one SVM per class from images that are seen one at a time.

    Args:
        positives: features of every ground-truth box of the whole set; never dropped. Where they
            lie the SVMs are trained.
        labels: their classes, 0..K-1, on the same device.
        num_classes: K.
        config: the constants.
        class_names: for messages.
        initial: where the SVMs start; the first images' negatives are all taken even so.
        measured: compute ``objective`` even where no log asks for it: it costs a pass over the
            rows.

    Attributes:
        svms: as last trained.
        cache: the negatives.
        retrainings: how often the SVMs were trained.
        objective: of the last training, the sum over the classes; None before, or not measured.

    Raises:
        DataError: if a class has no positive.
    """

    def __init__(
        self,
        positives: Float[Tensor, "p d"],
        labels: Int[Tensor, " p"],
        num_classes: int,
        config: SvmConfig,
        class_names: Sequence[str] = (),
        initial: Svms | None = None,
        *,
        measured: bool = False,
    ) -> None:
        self.config = config
        self.class_names = tuple(class_names)
        device = positives.device
        self.svms = (initial or Svms.zero(num_classes, positives.shape[1])).to(device)
        # The solver reads all rows many times and is bound by memory: half the bytes, half the
        # time.
        self._positives = positives.to(torch.bfloat16)
        self._labels = labels
        storage = storage_for(int(config.cache_gib * 2**30), device)
        self.cache = NegativeCache(positives.shape[1], num_classes, device, storage)
        self._new = torch.zeros(num_classes, dtype=torch.int64)
        self._images = 0
        self._trained = False
        self.retrainings = 0
        self._measured = measured
        self.objective: float | None = None
        self._image_numbers: dict[str, int] = {}
        self._check_positives(num_classes)

    def add(
        self, image_id: str, values: Float[Tensor, "r d"], max_iou: Float[Tensor, "r k"]
    ) -> None:
        """Take the hard negatives of one image, and retrain when enough have come.

        Args:
            image_id: an image seen before adds only rows that are not cached yet.
            values: distinct feature rows, scaled to the configured norm.
            max_iou: each row's largest IoU with the image's objects of each class, 0 without one.
        """
        # A number takes the place of the name in the keys of cached rows, which are compared as one
        # tensor.
        number = self._image_numbers.setdefault(image_id, len(self._image_numbers))
        self._images += 1
        negative = (max_iou < self.config.negative_iou) & values.isfinite().all(dim=1)[:, None]
        if self._trained:
            scores = self.svms.score(values)
            negative &= scores > self.config.hard_score
            negative = hardest(negative, scores, self.config.max_hard)
        self._new += self.cache.add(number, values, negative)
        first_trained = not self._trained and self._images >= self.config.first_images
        complete = bool((self.cache.counts() > 0).all())
        if (first_trained and complete) or int(self._new.max()) > self.config.retrain_after:
            self.retrain()

    def start(
        self, samples: Iterable[tuple[str, Float[Tensor, "r d"], Float[Tensor, "r k"]]]
    ) -> None:
        """Train on a sample of every image's boxes before the hard ones are looked for.

        Args:
            samples: image, distinct feature rows and their largest IoU for each class, as in `add`.
        """
        for image_id, values, max_iou in samples:
            number = self._image_numbers.setdefault(
                f"{_SAMPLE}{image_id}", len(self._image_numbers)
            )
            negative = (max_iou < self.config.negative_iou) & values.isfinite().all(dim=1)[:, None]
            self.cache.add(number, values, negative)
        self.retrain()

    def finish(self) -> Svms:
        """Train on what came since the last retraining and return the SVMs.

        Raises:
            DataError: if a class has no negative.
        """
        if not self._trained or int(self._new.max()) > 0:
            self.retrain()
        return self.svms

    def without(
        self, image_ids: frozenset[str], own: Bool[Tensor, " p"]
    ) -> tuple[Svms, Bool[Tensor, " k"]]:
        """Fit the SVMs to all that is cached but the rows of some images.

        Args:
            image_ids: as in ``add``; their rows stay in the cache.
            own: True for their positives.

        Returns:
            The SVMs, and for which classes there were examples: the others have no SVM.
        """
        numbers = [
            number
            for name, number in self._image_numbers.items()
            if name.removeprefix(_SAMPLE) in image_ids
        ]
        left = self.cache.rows_of(numbers).logical_not()[:, None]
        targets = torch.cat(
            (
                self._positive_targets() * own.logical_not()[:, None],
                -(self.cache.members & left).to(torch.int8),
            )
        )
        known = (targets > 0).any(dim=0) & (targets < 0).any(dim=0)
        start = Svms(weight=self.svms.weight[known], bias=self.svms.bias[known])
        weight, bias = torch.zeros_like(self.svms.weight), torch.zeros_like(self.svms.bias)
        if known.any():
            blocks = [self._positives, *self.cache.blocks]
            fitted = fit_linear_svms(blocks, targets[:, known].contiguous(), self.config, start)
            weight[known], bias[known] = fitted.weight, fitted.bias
        return Svms(weight=weight, bias=bias), known

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that ``restore`` needs: tensors, and values that JSON can hold.

        Law: a miner with the same positives that is restored goes on, bit for bit, as this one.
        """
        cache = {f"cache.{name}": value for name, value in self.cache.state().items()}
        tensors = {"weight": self.svms.weight, "bias": self.svms.bias, "new": self._new, **cache}
        return tensors, {
            "images": self._images,
            "retrainings": self.retrainings,
            "objective": self.objective,
            "trained": self._trained,
            "names": list(self._image_numbers),
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take over what ``state`` returned."""
        device = self._positives.device
        self.svms = Svms(weight=tensors["weight"], bias=tensors["bias"]).to(device)
        self._new = tensors["new"]
        prefix = "cache."
        cached = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        self.cache.restore(cached)
        self._images, self._trained = values["images"], values["trained"]
        self.retrainings = values["retrainings"]
        self.objective = values.get("objective")
        self._image_numbers = {name: number for number, name in enumerate(values["names"])}

    def retrain(self) -> None:
        """Fit all classes to the positives and the cache, then drop the easy negatives.

        Raises:
            DataError: if a class has no negative.
        """
        blocks = [self._positives, *self.cache.blocks]
        targets = torch.cat((self._positive_targets(), -self.cache.members.to(torch.int8)))
        start = self.svms if self._trained else None
        self.svms = fit_linear_svms(blocks, targets, self.config, start, self.class_names)
        self._trained = True
        self.retrainings += 1
        self._new.zero_()
        logged = logger.isEnabledFor(logging.INFO)
        if self._measured or logged:
            self.objective = float(svm_objective(self.svms, blocks, targets, self.config).sum())
        del blocks, targets  # what the cache drops can then be freed
        cached = len(self.cache)
        self.cache.drop(self.svms, self.config.easy_score)
        self.cache.limit(self.svms, int(self.config.cache_gib * 2**30))
        if logged:
            logger.info(
                "SVMs after %s: %s, %s (%d kept), objective %.5g",
                counted(self._images, "image"),
                counted(len(self._positives), "positive"),
                counted(cached, "negative"),
                len(self.cache),
                self.objective,
            )

    def _positive_targets(self) -> Int[Tensor, "p k"]:
        classes = torch.arange(len(self._new), device=self._labels.device)
        return (self._labels[:, None] == classes).to(torch.int8)

    def _check_positives(self, num_classes: int) -> None:
        counts = torch.bincount(self._labels, minlength=num_classes)
        missing = (counts == 0).nonzero().flatten().tolist()
        if missing:
            names = ", ".join(
                repr(self.class_names[i]) if self.class_names else str(i) for i in missing
            )
            message = (
                f"SVM: class {names}: expected at least one training object, got none; "
                "add images of it or leave the class out of data.class_names"
            )
            raise DataError(message)


def hardest(
    negative: Bool[Tensor, "r k"], scores: Float[Tensor, "r k"], most: int
) -> Bool[Tensor, "r k"]:
    """Keep the ``most`` rows that some class finds hardest; 0 keeps all."""
    if most == 0 or len(negative) <= most:
        return negative
    best = scores.masked_fill(~negative, -torch.inf).amax(dim=1)
    keep = torch.zeros(len(best), dtype=torch.bool, device=best.device)
    keep[best.topk(most).indices] = True
    return negative & keep[:, None]
