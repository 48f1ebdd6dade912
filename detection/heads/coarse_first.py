"""Pool5 in two passes: the levels that a cascade reads, then all levels of the boxes it keeps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from detection.config import CascadeConfig
from detection.features.extractor import FeatureExtractor
from detection.features.memory import encode_within_memory, extract_within_memory
from detection.features.sppnet import SppExtractor
from detection.heads.cascade import Cascade, level_spans
from detection.structures import FeatureMap, Image, RoIFeatures


def pool_survivors(
    cascade: Cascade,
    config: CascadeConfig,
    extractor: FeatureExtractor,
    image: Image,
    boxes: Float[Tensor, "r 4"],
    maps: Sequence[FeatureMap] | None = None,
) -> tuple[RoIFeatures, Float[Tensor, "s 4"]]:
    """Return the features of the boxes that go on to fc6, and these boxes.

    Law: those of ``cascade.survivors(extractor.extract(image, boxes), config)``, to the bit. Nine
    of ten numbers of pool5 belong to the finest levels, and most boxes never need theirs.

    Args:
        cascade: of the detector.
        config: how many boxes, or which recall.
        extractor: of the detector.
        image: on the device of the network.
        boxes: image pixels, on that device.
        maps: what ``extractor.encode_image`` made of it, where that was done already.
    """
    levels = levels_read(cascade, extractor)
    if not levels or not isinstance(extractor, SppExtractor):
        pool5 = extract_within_memory(extractor, image, boxes, maps)
        pool5, kept = cascade.survivors(pool5, config)
        return pool5, boxes[kept]
    maps = encode_within_memory(extractor, image) if maps is None else maps
    coarse = extract_within_memory(_with_levels(extractor, levels), image, boxes, maps)
    boxes = boxes[cascade.for_its_columns().survivors(coarse, config)[1]]
    return extract_within_memory(extractor, image, boxes, maps), boxes


def _with_levels(extractor: SppExtractor, levels: Sequence[int]) -> SppExtractor:
    """Return the same extractor with other levels of the pyramid."""
    other = copy.copy(extractor)
    other.config = replace(extractor.config, levels=tuple(levels))
    other.feature_dim = sum(extractor.network.channels) * sum(n * n for n in levels)
    return other


def levels_read(cascade: Cascade, extractor: FeatureExtractor) -> tuple[int, ...]:
    """Return the levels of the pyramid that a cascade reads; none if it reads all, or columns."""
    if not isinstance(extractor, SppExtractor):
        return ()
    channels, pyramid = extractor.network.channels, extractor.config.levels
    starts = set(cascade.spans[:, 0].tolist())
    levels = tuple(
        level for level in pyramid if int(level_spans(channels, pyramid, (level,))[0, 0]) in starts
    )
    spans = level_spans(channels, pyramid, levels)
    known = spans.shape == cascade.spans.shape and torch.equal(spans, cascade.spans.cpu())
    return levels if known and len(levels) < len(pyramid) else ()
