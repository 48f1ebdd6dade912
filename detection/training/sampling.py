"""Mini-batches of RoIs for fine-tuning; each is a function of the seed and the step alone.

No state is carried from one mini-batch to the next: a resumed training draws what it would have
drawn, and several processes agree on a mini-batch without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.boxes import encode_deltas, flip
from detection.config import FineTuneConfig
from detection.errors import DataError
from detection.training.randomness import stream
from detection.training.rois import LabelledRoIs
from detection.words import counted


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class RoIPool:
    """The RoIs of one training image that a mini-batch may draw.

    Attributes:
        image_id: of the image.
        width: of the image, pixels.
        boxes: image pixels; proposals and objects.
        labels: the class of the object that a positive overlaps most, K elsewhere: background.
        gt_boxes: the object that each RoI overlaps most; the RoI itself where there is none.
        positives: rows with enough overlap.
        negatives: rows in the range of the negatives.
        easier: rows below that range: hardly any overlap with an object.
    """

    image_id: str
    width: int
    boxes: Float[Tensor, "r 4"]
    labels: Int[Tensor, " r"]
    gt_boxes: Float[Tensor, "r 4"]
    positives: Int[Tensor, " p"]
    negatives: Int[Tensor, " n"]
    easier: Int[Tensor, " e"]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ImageSample:
    """The RoIs of a mini-batch that lie in one image, all of it mirrored or all of it not.

    Attributes:
        index: which training image.
        flipped: whether image and boxes are mirrored.
        boxes: pixels of the image, mirrored with it.
        labels: 0..K-1, or K for background.
        deltas: from the boxes to their objects; 0 for background.
        scale: the index of each RoI's scale; None chooses by the size of the box.
    """

    index: int
    flipped: bool
    boxes: Float[Tensor, "m 4"]
    labels: Int[Tensor, " m"]
    deltas: Float[Tensor, "m 4"]
    scale: Int[Tensor, " m"] | None


def pool_of(
    rois: LabelledRoIs, image_id: str, width: int, num_classes: int, config: FineTuneConfig
) -> RoIPool:
    """Sort the RoIs of an image into positives and negatives.

    Args:
        rois: proposals and objects, compared with the objects.
        image_id: of the image.
        width: of the image, pixels.
        num_classes: K.
        config: the ranges of IoU.

    Source:
        RC §2.3 and SPP §4.1.
    """
    low, high = config.negative_iou
    positive = rois.best_iou >= config.positive_iou
    negative = (rois.best_iou >= low) & (rois.best_iou < high) & ~positive
    labels = torch.full((len(rois.boxes),), num_classes)
    gt_boxes = rois.boxes.clone()
    if len(rois.gt_boxes):
        gt_boxes = rois.gt_boxes[rois.matched_gt]
        labels[positive] = rois.gt_labels[rois.matched_gt[positive]]
    return RoIPool(
        image_id=image_id,
        width=width,
        boxes=rois.boxes,
        labels=labels,
        gt_boxes=gt_boxes,
        positives=positive.nonzero().flatten(),
        negatives=negative.nonzero().flatten(),
        easier=((rois.best_iou < low) & ~positive).nonzero().flatten(),
    )


class Sampler:
    """Draws mini-batches, a quarter of them positives (both papers).

    Attributes:
        pools: one a training image.
        config: sizes and fractions.
        num_scales: of the feature maps.
    """

    def __init__(self, pools: Sequence[RoIPool], config: FineTuneConfig, num_scales: int) -> None:
        self.pools = pools
        self.config = config
        self.num_scales = num_scales
        self._positives = _image_rows([pool.positives for pool in pools])
        self._negatives = _image_rows([pool.negatives for pool in pools])
        easier = config.easy_negatives > 0
        drawable = self._negatives
        if easier and not len(drawable):
            drawable = _image_rows([pool.easier for pool in pools])
        self._usable = [
            i
            for i, p in enumerate(pools)
            if len(p.positives) + len(p.negatives) + easier * len(p.easier)
        ]
        for kind, candidates in (("positive", self._positives), ("negative", drawable)):
            if not len(candidates):
                message = (
                    f"fine-tuning: expected at least one {kind} RoI in "
                    f"{counted(len(pools), 'image')}, got none; check the proposals and "
                    "finetune.positive_iou, finetune.negative_iou"
                )
                raise DataError(message)
        factors = _repeat_factors([pools[i] for i in self._usable], config.rare_classes)
        self._edges = factors.cumsum(0) / factors.mean()

    def draw(self, step: int) -> list[ImageSample]:
        """Return the mini-batch of a step, one sample per image."""
        random = stream(self.config.seed, "step", step)
        if self.config.images_per_batch:
            return self._from_few_images(step, random)
        return self._from_all_images(random)

    def _from_all_images(self, random: torch.Generator) -> list[ImageSample]:
        """Draw every RoI uniformly over the whole set."""
        wanted = max(1, round(self.config.positive_fraction * self.config.batch_size))
        drawn = [
            candidates[torch.randint(len(candidates), (count,), generator=random)]
            for candidates, count in (
                (self._positives, wanted),
                (self._negatives, self.config.batch_size - wanted),
            )
        ]
        images, rows = torch.cat(drawn).unbind(dim=1)
        flips = torch.rand(len(rows), generator=random) < (0.5 if self.config.flip else 0.0)
        scales = self._scales(len(rows), random)
        samples = []
        # By image and mirroring: each map is computed, or fetched, once per mini-batch.
        for key in torch.unique(images * 2 + flips).tolist():
            here = (images * 2 + flips == key).nonzero().flatten()
            scale = scales[here] if scales is not None else None
            samples.append(self._sample(key // 2, rows[here], scale, flipped=bool(key % 2)))
        return samples

    def _from_few_images(self, step: int, random: torch.Generator) -> list[ImageSample]:
        """Draw from the next images of a shuffled list (FR §2.3)."""
        count = self.config.images_per_batch
        quota = self.config.batch_size // count
        samples = []
        for position in range(step * count, (step + 1) * count):
            index = self._image_at(position)
            rows = self._rows(self.pools[index], quota, random)
            flipped = self.config.flip and bool(torch.rand(1, generator=random) < 0.5)
            scale = self._scales(1, random)
            scale = scale.expand(len(rows)) if scale is not None else None
            samples.append(self._sample(index, rows, scale, flipped=flipped))
        return samples

    def _rows(self, pool: RoIPool, quota: int, random: torch.Generator) -> Int[Tensor, " m"]:
        """Draw without repeats: positives up to their fraction, negatives for the rest."""
        wanted = round(self.config.positive_fraction * quota)
        positives = _choose(pool.positives, wanted, random)
        negatives = pool.negatives
        share = self.config.easy_negatives
        if share and (not len(negatives) or bool(torch.rand(1, generator=random) < share)):
            negatives = torch.cat((negatives, pool.easier))
        negatives = _choose(negatives, quota - len(positives), random)
        return torch.cat((positives, negatives))

    def _image_at(self, position: int) -> int:
        """Return the image at a position of the shuffled lists, one list per epoch."""
        count = len(self._usable)
        epoch, index = divmod(position, count)
        random = stream(self.config.seed, "epoch", epoch)
        chosen = int(torch.randperm(count, generator=random)[index])
        if self.config.rare_classes:
            # Systematic resampling: as often as its factor says, but for one time.
            place = chosen + float(torch.rand(1, generator=random))
            chosen = min(int(torch.searchsorted(self._edges, place, right=True)), count - 1)
        return self._usable[chosen]

    def _scales(self, count: int, random: torch.Generator) -> Int[Tensor, " m"] | None:
        if not self.config.random_scale and not self.config.scales:
            return None
        return torch.randint(self.num_scales, (count,), generator=random)

    def _sample(
        self, index: int, rows: Int[Tensor, " m"], scale: Int[Tensor, " m"] | None, *, flipped: bool
    ) -> ImageSample:
        pool = self.pools[index]
        boxes, gt_boxes = pool.boxes[rows], pool.gt_boxes[rows]
        if flipped:
            boxes, gt_boxes = flip(boxes, pool.width), flip(gt_boxes, pool.width)
        labels = pool.labels[rows]
        deltas = encode_deltas(boxes, gt_boxes)
        deltas[~torch.isin(rows, pool.positives)] = 0.0
        return ImageSample(
            index=index, flipped=flipped, boxes=boxes, labels=labels, deltas=deltas, scale=scale
        )


def delta_statistics(
    pools: Sequence[RoIPool], *, flip: bool
) -> tuple[Float[Tensor, " 4"], Float[Tensor, " 4"]]:
    """Return mean and standard deviation of the positives' deltas, mirrored ones included.

    Source:
        FR §2.3: the targets of the joint regressor have zero mean and unit variance.
    """
    deltas = torch.cat(
        [encode_deltas(p.boxes[p.positives], p.gt_boxes[p.positives]) for p in pools]
    ).double()
    mean = deltas.mean(dim=0)
    if flip:
        # Mirroring turns the sign of dx and of nothing else.
        mean[0] = 0.0
    deviation = (deltas - mean).square().mean(dim=0).sqrt().clamp(min=1e-3)
    return mean.float(), deviation.float()


def _repeat_factors(pools: Sequence[RoIPool], threshold: float) -> Float[Tensor, " n"]:
    """Return how often each image is drawn against one whose classes are all common.

    Source:
        Gupta et al., arXiv 1908.03195, §6: the square root of threshold / frequency of an image's
        rarest class, at least 1; the frequency is the fraction of the images with the class.
    """
    classes = [torch.unique(pool.labels[pool.positives]) for pool in pools]
    counts = torch.bincount(torch.cat(classes)).double()
    factor = (threshold * len(pools) / counts).sqrt().clamp(min=1.0)
    return torch.stack([factor[own].max() if len(own) else factor.new_ones(()) for own in classes])


def _image_rows(rows: Sequence[Int[Tensor, " _"]]) -> Int[Tensor, "m 2"]:
    """Return (image, row) for all rows of all images."""
    none = torch.zeros(0, 2, dtype=torch.int64)
    pairs = [torch.stack((torch.full_like(r, i), r), dim=1) for i, r in enumerate(rows)]
    return torch.cat([none, *pairs])


def _choose(rows: Int[Tensor, " n"], count: int, random: torch.Generator) -> Int[Tensor, " m"]:
    return rows[torch.randperm(len(rows), generator=random)[:count]]
