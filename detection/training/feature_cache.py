"""The features of training images and the maps of frozen layers, kept in memory."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from detection.data.image_prefetch import read_ahead
from detection.data.images import read_image
from detection.features.extractor import Trainable
from detection.structures import FeatureMap, Image, Record, RoIFeatures


class KeptMaps:
    """Maps in host memory, as long as they fit into a budget; threads may share it.

    Args:
        budget: bytes that may still be kept.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._maps: dict[Hashable, tuple[FeatureMap, ...]] = {}
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._maps

    def get(self, key: Hashable) -> tuple[FeatureMap, ...] | None:
        """Return the maps that are kept under a key; None if there are none."""
        return self._maps.get(key)

    def keep(self, key: Hashable, maps: tuple[FeatureMap, ...]) -> None:
        """Keep maps if there is room for them."""
        size = sum(m.values.numel() * m.values.element_size() for m in maps)
        with self._lock:
            if size <= self.budget and key not in self._maps:
                self.budget -= size
                self._maps[key] = moved(maps, torch.device("cpu"))


class FeatureSource:
    """pool5 of any boxes of any image of a data set.

    What ``encode_image`` returns for an image is kept in host memory until ``budget`` bytes are
    used up, and computed again for the images beyond: the features are the same either way, and
    come on the extractor's device.

    Attributes:
        extractor: of the method.
        max_pixels: limit of the image reader.
    """

    def __init__(self, extractor: Trainable, *, max_pixels: int, budget: int) -> None:
        self.extractor = extractor
        self.max_pixels = max_pixels
        self._kept = KeptMaps(budget)

    def pool5(
        self, records: Sequence[Record], boxes: Iterable[Float[Tensor, "_ 4"]]
    ) -> Iterator[RoIFeatures]:
        """Yield the features of each record's boxes in order, prefetching the next image.

        Args:
            records: the images.
            boxes: for each record its boxes, image pixels.

        Raises:
            DataError: if an image cannot be read.
        """
        # The reader runs ahead and must not read what will come from the cache.
        unread = [record for record in records if record.image_id not in self._kept]
        images = read_ahead(unread, max_pixels=self.max_pixels)
        for record, its_boxes in zip(records, boxes, strict=True):
            with torch.no_grad():
                maps = self._kept.get(record.image_id)
                if maps is None:
                    maps = self.extractor.encode_image(next(images))
                    self._kept.keep(record.image_id, maps)
                pooled = self.extractor.pool(moved(maps, self.extractor.device), its_boxes)
            # Outside: who stops in the middle would be left without gradients.
            yield pooled


def moved(maps: Sequence[FeatureMap], device: torch.device) -> tuple[FeatureMap, ...]:
    """Return the maps on a device; those that are there already are not copied."""
    return tuple(replace(m, values=m.values.to(device)) for m in maps)


class FrozenMaps:
    """The maps that the first unfrozen layer reads, of any training image, as it is or mirrored.

    The map of a mirrored image is not the mirrored map: padding and strides begin at the left.
    Maps are kept in host memory until ``budget`` bytes are used up and computed again for the
    images beyond; all are rounded to ``dtype``, so that they are the same either way, and returned
    on the extractor's device.

    Attributes:
        extractor: of the method, its layers unfrozen.
        records: the training images.
        max_pixels: limit of the image reader.
        dtype: in which maps are kept.
    """

    def __init__(
        self,
        extractor: Trainable,
        records: Sequence[Record],
        *,
        max_pixels: int,
        budget: int,
        dtype: torch.dtype,
    ) -> None:
        self.extractor = extractor
        self.records = records
        self.max_pixels = max_pixels
        self.dtype = dtype
        self._kept = KeptMaps(budget)

    def of(
        self, index: int, *, flipped: bool, scales: Sequence[int] | None = None
    ) -> tuple[FeatureMap, ...]:
        """Return the maps of one image.

        Args:
            index: which training image.
            flipped: mirror it first.
            scales: indices of the extractor's scales, in the order of the maps; None for all.

        Raises:
            DataError: if the image cannot be read.
        """
        wanted = range(self.extractor.num_scales) if scales is None else scales
        found = {scale: self._kept.get((index, flipped, scale)) for scale in wanted}
        image = None
        for scale in (scale for scale, maps in found.items() if maps is None):
            image = image or self._read(self.records[index], flipped=flipped)
            maps = self.extractor.at_scale(scale).run_frozen(image)
            maps = tuple(replace(m, values=m.values.to(self.dtype)) for m in maps)
            self._kept.keep((index, flipped, scale), maps)
            found[scale] = maps
        return tuple(m for maps in found.values() for m in moved(maps or (), self.extractor.device))

    def _read(self, record: Record, *, flipped: bool) -> Image:
        image = read_image(record.path, record.image_id, max_pixels=self.max_pixels)
        return image.mirrored() if flipped else image
