"""Features on a device with too little memory: fewer boxes at a time, then fewer scales."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from detection.errors import DataError
from detection.features.extractor import FeatureExtractor
from detection.io.device import release_cached_memory
from detection.io.image_errors import is_out_of_memory
from detection.structures import FeatureMap, Image, RoIFeatures

_LOG = logging.getLogger(__name__)

_PARTS = (512, 64, 8, 1)
_FEW = 8
"""Boxes at a time once scales are left out: the maps were too large, not the pooled vectors."""

_FITTING: WeakKeyDictionary[FeatureExtractor, int] = WeakKeyDictionary()
"""How many boxes at a time fitted the memory last: the next image does not run into it again."""


def extract_within_memory(
    extractor: FeatureExtractor,
    image: Image,
    boxes: Float[Tensor, "r 4"],
    maps: Sequence[FeatureMap] | None = None,
) -> RoIFeatures:
    """Return one vector per box like ``extractor.extract``, falling back to less memory.

    First the boxes are taken in parts, which changes no vector and holds for the next images too;
    then the largest scales are left out one after the other, for this image. Each step is
    logged.

    Args:
        extractor: of the method.
        image: the image.
        boxes: image pixels.
        maps: what ``extractor.encode_image`` made of it, where that was done already.

    Raises:
        DataError: if the memory does not suffice either way.
    """
    most = _FITTING.get(extractor, len(boxes))
    for number, (cheaper, part) in enumerate(_ways(extractor, min(most, len(boxes)))):
        if number:
            _LOG.warning(
                "%s: out of memory; trying %d boxes at a time, scales %s",
                image.image_id or "image",
                part,
                list(cheaper.config.scales),
            )
        try:
            own = maps if cheaper is extractor else None
            features = extract_in_parts(cheaper, image, boxes, part, own)
            if number and cheaper is extractor:
                _FITTING[extractor] = part
            return features
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        release_cached_memory(extractor.device)
    message = (
        f"{image.image_id or 'image'}: expected an image that fits the memory of "
        f"{extractor.device}, got {image.size[1]} x {image.size[0]} pixels; set "
        "features.max_long_side, lower features.scales or choose features.device cpu"
    )
    raise DataError(message)


def encode_within_memory(
    extractor: FeatureExtractor, image: Image
) -> tuple[FeatureMap, ...] | None:
    """Return ``extractor.encode_image``; None where memory does not suffice for it.

    `extract_within_memory` then goes on with less.
    """
    try:
        return extractor.encode_image(image)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    release_cached_memory(extractor.device)
    return None


def extract_in_parts(
    extractor: FeatureExtractor,
    image: Image,
    boxes: Float[Tensor, "r 4"],
    part: int,
    maps: Sequence[FeatureMap] | None = None,
) -> RoIFeatures:
    """Return one vector per box, pooling at most ``part`` boxes at a time."""
    maps = extractor.encode_image(image) if maps is None else maps
    if len(boxes) <= part:
        return extractor.pool(maps, boxes)
    parts = [extractor.pool(maps, some) for some in torch.split(boxes, part)]
    starts = torch.tensor([0, *(len(features.values) for features in parts)]).cumsum(0).tolist()
    rows = [features.rows + start for features, start in zip(parts, starts, strict=False)]
    return RoIFeatures(
        values=torch.cat([features.values for features in parts]), rows=torch.cat(rows)
    )


def _ways(extractor: FeatureExtractor, count: int) -> Iterator[tuple[FeatureExtractor, int]]:
    """Yield (extractor, boxes per batch) pairs, each needing less memory than the one before."""
    yield extractor, max(count, 1)
    for part in _PARTS:
        if part < count:
            yield extractor, part
    cheaper = extractor.with_fewer_scales()
    while cheaper is not None:
        yield cheaper, min(max(count, 1), _FEW)
        cheaper = cheaper.with_fewer_scales()
