"""Hard-negative mining: the SVMs see all positives and those negatives that they find hard.

One pass over the training images (RC §2.3, Appendix B; the released spp_train.m). A row of features
is cached once, with the set of classes that it is a hard negative of, so that the newton solver
trains all classes on the same matrix: when one class has enough new negatives, all are retrained.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detection.config import SvmConfig
from detection.errors import DataError
from detection.heads.svm import Svms, fit_linear_svms, svm_objective
from detection.io.device import storage_for
from detection.kernels import tall_matmul

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 28
"""Rows of the cache are kept in blocks of about this size: a larger cache moves no old rows."""


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
                f"sample of {image_id}", len(self._image_numbers)
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
        self._new.zero_()
        cached = len(self.cache)
        self.cache.drop(self.svms, self.config.easy_score)
        self.cache.limit(self.svms, int(self.config.cache_gib * 2**30))
        if logger.isEnabledFor(logging.INFO):
            objective = svm_objective(self.svms, blocks, targets, self.config).sum()
            logger.info(
                "SVMs after %d images: %d positives, %d negatives (%d kept), objective %.5g",
                self._images,
                len(self._positives),
                cached,
                len(self.cache),
                float(objective),
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


class NegativeCache:
    """Rows of features, each once, with the classes that each is a negative of.

    Rows are bfloat16: half the memory and half the time of a solver that reads them from memory.

    Args:
        feature_dim: length of a row.
        num_classes: K.
        device: where rows come from and SVMs are trained; memberships lie there.
        storage: where the rows are kept; None for ``device``.
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        device: torch.device,
        storage: torch.device | None = None,
    ) -> None:
        self._storage = storage or device
        self.blocks: list[Float[Tensor, "n d"]] = []
        self.members: Bool[Tensor, "n k"] = torch.zeros(
            0, num_classes, dtype=torch.bool, device=device
        )
        self._keys: Int[Tensor, "n 2"] = torch.zeros(0, 2, dtype=torch.int64)
        self._feature_dim = feature_dim
        self._rows_of_block = max(1, BLOCK_BYTES // (2 * feature_dim))

    def __len__(self) -> int:
        return len(self.members)

    def counts(self) -> Int[Tensor, " k"]:
        """Return the number of negatives of each class."""
        return self.members.sum(dim=0).cpu()

    def scores(self, svms: Svms) -> Float[Tensor, "n k"]:
        """Return the scores of all rows."""
        if not self.blocks:
            return self.members.float()
        svms = svms.to(self.members.device)
        return tall_matmul.times(self.blocks, svms.weight).add_(svms.bias)

    def add(
        self, image_number: int, values: Float[Tensor, "r d"], negative: Bool[Tensor, "r k"]
    ) -> Int[Tensor, " k"]:
        """Cache the rows that are negatives of some class; return how many are new for each."""
        negative = negative.clone()
        cached = (self._keys[:, 0] == image_number).nonzero().flatten()
        rows = self._keys[cached, 1].to(negative.device)
        # A row that is cached for one class may now be hard for another: it is not stored twice.
        fresh = negative[rows] & ~self.members[cached]
        self.members = self.members.index_put((cached,), self.members[cached] | fresh)
        negative[rows] = False
        chosen = negative.any(dim=1).nonzero().flatten()
        self._append(values[chosen].to(self._storage, torch.bfloat16))
        self.members = torch.cat((self.members, negative[chosen]))
        keys = torch.stack((torch.full_like(chosen, image_number), chosen), dim=1)
        self._keys = torch.cat((self._keys, keys.cpu()))
        return (fresh.sum(dim=0) + negative.sum(dim=0)).cpu()

    def drop(self, svms: Svms, easy_score: float) -> None:
        """Take a row from every class that scores it below ``easy_score``; drop the empty.

        The hardest negative of each class stays whatever its score: an SVM needs one.
        """
        scores = self._member_scores(svms)
        self.members = self.members & ((scores >= easy_score) | _hardest(scores))
        self._keep(self.members.any(dim=1))

    def limit(self, svms: Svms, max_bytes: int) -> None:
        """Drop the rows that every class finds easiest until the cache fits ``max_bytes``."""
        most = max(self.members.shape[1], max_bytes // (2 * self._feature_dim))
        if len(self) <= most:
            return
        scores = self._member_scores(svms)
        value = scores.masked_fill(_hardest(scores), torch.inf).amax(dim=1)
        keep = torch.zeros(len(self), dtype=torch.bool, device=value.device)
        keep[value.topk(most).indices] = True
        logger.warning(
            "SVMs: the negative cache holds %d of %d rows, the hardest; raise svm.cache_gib to "
            "keep all",
            most,
            len(self),
        )
        self._keep(keep)

    def _member_scores(self, svms: Svms) -> Float[Tensor, "n k"]:
        return self.scores(svms).masked_fill(~self.members, -torch.inf)

    def _append(self, rows: Float[Tensor, "n d"]) -> None:
        # Growing one large tensor would copy all rows with every image, and need twice the memory.
        if self.blocks and len(self.blocks[-1]) + len(rows) <= self._rows_of_block:
            self.blocks[-1] = torch.cat((self.blocks[-1], rows))
        elif len(rows):
            self.blocks.append(rows)

    def _keep(self, kept: Bool[Tensor, " n"]) -> None:
        if bool(kept.all()):
            return
        old, self.blocks = self.blocks, []
        start = 0
        stored = kept.to(self._storage)
        for i, block in enumerate(old):
            self._append(block[stored[start : start + len(block)]])
            start += len(block)
            # Lets go of the old block at once: never are two whole caches in memory.
            old[i] = block[:0]
        self.members = self.members[kept]
        self._keys = self._keys[kept.cpu()]


def _hardest(scores: Float[Tensor, "n k"]) -> Bool[Tensor, "n k"]:
    """Mark the best scored row of each class."""
    if not len(scores):
        return scores.bool()
    return torch.arange(len(scores), device=scores.device)[:, None] == scores.argmax(dim=0)
