"""Changes to end-to-end training that no option switches, put into the package's modules.

Each function changes the process that it is called in, for good; `training_variants.py` calls one
in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss
from torchvision.transforms.v2 import functional as transforms

from detection.boxes import clip, decode_deltas
from detection.features.scale import choose_scale
from detection.features.sppnet import SppExtractor
from detection.postprocess import multiclass_nms
from detection.structures import FeatureMap, Image, Record, RoIFeatures, Size
from detection.training import finetune
from detection.training.feature_cache import FrozenMaps
from detection.training.finetune import Batches, FineTuner
from detection.training.image_threads import map_images
from detection.training.randomness import stream
from detection.training.sampling import ImageSample, RoIPool, Sampler

LOOKED_AT = 4
"""Hard examples are chosen from so many times the RoIs that train, at most."""
SAME_EXAMPLE = 0.7
"""Of two RoIs of an image that overlap by more than this, one trains (Shrivastava et al. §4.1)."""
GIOU_WEIGHT = 5.0
"""Before training, a positive of VOC's subset costs 1.62 by the smooth L1 distance, and 0.33 so."""
CONTEXT = 1.5
"""Sides of the wide window, in sides of the box."""
COLOUR_CHANGE = 0.5
"""Brightness, contrast and saturation change by up to this fraction (Howard 2013)."""


def hard_examples() -> None:
    """Train on the RoIs of each image with the greatest loss, of all that it has.

    Every RoI goes through the network once without gradients and without dropout, whatever its
    overlap and whether positive or not; NMS by the loss leaves out near copies, and the greatest
    losses that remain train, as many as an image's share of the mini-batch at most.

    Source:
        Shrivastava et al. 2016 (arXiv 1604.03540), §4: online hard example mining.
    """
    plain = FineTuner._losses

    def rows(self: Sampler, pool: RoIPool, quota: int, random: torch.Generator) -> Tensor:
        every = torch.cat((pool.positives, pool.negatives, pool.easier))
        return every[torch.randperm(len(every), generator=random)[: LOOKED_AT * quota]]

    def losses(
        self: FineTuner, network: Any, batches: Batches, samples: list[ImageSample]
    ) -> Tensor:
        quota = self.config.batch_size // self.config.images_per_batch
        pairs = zip(samples, loss_of_each(self, batches, samples), strict=True)
        return plain(self, network, batches, [hardest(*pair, quota) for pair in pairs])

    Sampler._rows = rows  # type: ignore[method-assign]
    FineTuner._losses = losses  # type: ignore[method-assign]


def loss_of_each(
    tuner: FineTuner, batches: Batches, samples: Sequence[ImageSample]
) -> list[Tensor]:
    """Return the loss of every RoI, one tensor a sample; the network is left in training."""
    tuner.network.eval()
    with torch.no_grad():
        logits, deltas = tuner.network(samples, finetune.maps_of(batches, samples))
    tuner.network.train()
    labels = torch.cat([one.labels for one in samples]).to(logits.device)
    found = functional.cross_entropy(logits.float(), labels, reduction="none")
    if deltas is not None:
        mean, deviation = (value.to(logits.device) for value in tuner.deltas)
        targets = torch.cat([one.deltas for one in samples]).to(logits.device)
        rows = (labels < deltas.shape[1]).nonzero().flatten()
        own, wanted = deltas[rows, labels[rows]].float(), (targets[rows] - mean) / deviation
        found[rows] += functional.smooth_l1_loss(own, wanted, reduction="none").sum(dim=1)
    return list(found.cpu().split([len(one.labels) for one in samples]))


def hardest(sample: ImageSample, losses: Tensor, count: int) -> ImageSample:
    """Return the sample with the RoIs of greatest loss that overlap no harder one by much."""
    order = multiclass_nms(sample.boxes, losses, torch.zeros_like(sample.labels), SAME_EXAMPLE)
    rows = order[:count]
    scale = sample.scale[rows] if sample.scale is not None else None
    return replace(
        sample,
        boxes=sample.boxes[rows],
        labels=sample.labels[rows],
        deltas=sample.deltas[rows],
        scale=scale,
    )


def giou_boxes() -> None:
    """Train the box regressor by the generalised IoU of what it predicts with the object.

    No scale and no shift along an axis changes a GIoU: the RoI may be the unit square.

    Source:
        Rezatofighi et al. 2019 (arXiv 1902.09630).
    """
    measure = finetune.delta_statistics

    def statistics(pools: Sequence[RoIPool], *, flip: bool) -> tuple[Tensor, Tensor]:
        mean, deviation = measure(pools, flip=flip)
        finetune.bbox_loss = giou_loss(mean, deviation)  # type: ignore[attr-defined]
        return mean, deviation

    finetune.delta_statistics = statistics  # type: ignore[attr-defined]


def giou_loss(mean: Tensor, deviation: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return a loss with the arguments of ``finetune.bbox_loss``.

    Args:
        mean: of the deltas.
        deviation: of them; both normalise what the loss is called with.
    """

    def loss(deltas: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        rows = (labels < deltas.shape[1]).nonzero().flatten()
        unit = deltas.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(len(rows), 4)
        boxes = [
            decode_deltas(unit, one * deviation.to(one) + mean.to(one))
            for one in (deltas[rows, labels[rows]], targets[rows])
        ]
        return GIOU_WEIGHT * generalized_box_iou_loss(*boxes, reduction="sum")

    return loss


def context_beside() -> None:
    """Pool each box also with what surrounds it; both vectors lie side by side.

    Source:
        Gidaris and Komodakis 2015 (arXiv 1505.01749), §3.1: regions around the box.
    """
    build, pool_boxes = SppExtractor.__init__, SppExtractor.pool

    def init(self: SppExtractor, *arguments: Any) -> None:
        build(self, *arguments)
        self.feature_dim *= 2

    def pool(
        self: SppExtractor, maps: Sequence[FeatureMap], boxes: Tensor, scale: Tensor | None = None
    ) -> RoIFeatures:
        size, boxes = maps[0].image_size, boxes.to(self.device)
        if scale is None:
            scale = choose_scale(boxes, size, self.config.scales, self.config.scale_rule)
        parts = [pool_boxes(self, maps, some, scale) for some in (boxes, widened(boxes, size))]
        pairs = torch.stack([part.rows for part in parts], dim=1)
        pairs, rows = torch.unique(pairs, dim=0, return_inverse=True)
        values = [part.values[own] for part, own in zip(parts, pairs.unbind(dim=1), strict=True)]
        return RoIFeatures(values=torch.cat(values, dim=1), rows=rows)

    SppExtractor.__init__ = init  # type: ignore[method-assign, assignment]
    SppExtractor.pool = pool  # type: ignore[method-assign]


def widened(boxes: Tensor, size: Size) -> Tensor:
    """Return the boxes with sides ``CONTEXT`` times as long about the same centre, in the image."""
    more = (boxes[:, 2:] - boxes[:, :2]) * (CONTEXT - 1) / 2
    return clip(torch.cat((boxes[:, :2] - more, boxes[:, 2:] + more), dim=1), size)


class Recoloured(ImageSample):
    """A sample of an image with other colours."""

    __slots__ = ()


class RecolouredMaps(FrozenMaps):
    """The maps of images with other colours: one copy of each image, and one of each mirrored."""

    def _read(self, record: Record, *, flipped: bool) -> Image:
        image = super()._read(record, flipped=flipped)
        return recoloured(image, stream("colours", record.image_id, int(flipped)))


class MapsOfBoth(FrozenMaps):
    """Maps of images as they are, and beside them those with other colours, within one budget."""

    def __init__(self, *arguments: Any, budget: int, **options: Any) -> None:
        super().__init__(*arguments, budget=budget // 2, **options)
        self.recoloured = RecolouredMaps(*arguments, budget=budget // 2, **options)


def recoloured(image: Image, random: torch.Generator) -> Image:
    """Return an image with another brightness, contrast and saturation, in a random order.

    Source:
        Howard 2013 (arXiv 1312.5402), §2.
    """
    change = (transforms.adjust_brightness, transforms.adjust_contrast)
    changes = (*change, transforms.adjust_saturation)
    factors = 1 + COLOUR_CHANGE * (2 * torch.rand(len(changes), generator=random) - 1)
    pixels = image.pixels.permute(2, 0, 1)
    for index in torch.randperm(len(changes), generator=random).tolist():
        pixels = changes[index](pixels, float(factors[index]))
    return replace(image, pixels=pixels.permute(1, 2, 0).contiguous())


def other_colours() -> None:
    """Let every other image of the mini-batches, by chance, have other colours."""
    draw_plain = Sampler.draw

    def draw(self: Sampler, step: int) -> list[ImageSample]:
        samples = draw_plain(self, step)
        coins = torch.rand(len(samples), generator=stream(self.config.seed, "colours", step))
        return [
            Recoloured(**values_of(one)) if coin < 0.5 else one
            for one, coin in zip(samples, coins.tolist(), strict=True)
        ]

    def maps_of(batches: Batches, samples: Sequence[ImageSample]) -> list[tuple[FeatureMap, ...]]:
        maps = batches.maps
        both = (maps, maps.recoloured if isinstance(maps, MapsOfBoth) else maps)

        def of(sample: ImageSample) -> tuple[FeatureMap, ...]:
            scales = None if sample.scale is None else torch.unique(sample.scale).tolist()
            kind = isinstance(sample, Recoloured)
            return both[kind].of(sample.index, flipped=sample.flipped, scales=scales)

        return map_images(of, samples, maps.extractor.device)

    Sampler.draw = draw  # type: ignore[method-assign]
    finetune.FrozenMaps = MapsOfBoth  # type: ignore[attr-defined]
    finetune.maps_of = maps_of  # type: ignore[attr-defined]


def values_of(sample: ImageSample) -> dict[str, Any]:
    """Return the fields of a sample by name."""
    return {field.name: getattr(sample, field.name) for field in fields(sample)}
