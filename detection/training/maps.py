"""What the frozen layers make of the training images, mirrored ones too, as far as memory goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from detection.data.images import read_image
from detection.features.extractor import Trainable
from detection.structures import FeatureMap, Record
from detection.training.source import moved


class FrozenMaps:
    """The maps that the first open layer reads, of any training image, as it is or mirrored.

    The map of a mirrored image is not the mirrored map: padding and strides begin at the left.
    Maps are kept in host memory until ``budget`` bytes are used up and computed again for the
    images beyond; all are rounded to ``dtype``, so that they are the same either way, and returned
    on the extractor's device.

    Attributes:
        extractor: of the method, its layers opened.
        records: the training images.
        max_pixels: limit of the image reader.
        budget: bytes that may still be kept.
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
        self.budget = budget
        self.dtype = dtype
        self._kept: dict[tuple[int, bool], tuple[FeatureMap, ...]] = {}

    def of(self, index: int, *, flipped: bool) -> tuple[FeatureMap, ...]:
        """Give the maps of one image.

        Args:
            index: which training image.
            flipped: mirror it first.

        Raises:
            DataError: if the image cannot be read.
        """
        kept = self._kept.get((index, flipped))
        if kept is None:
            kept = self._compute(self.records[index], flipped=flipped)
            self._keep((index, flipped), kept)
        return moved(kept, self.extractor.device)

    def _compute(self, record: Record, *, flipped: bool) -> tuple[FeatureMap, ...]:
        image = read_image(record.path, record.image_id, max_pixels=self.max_pixels)
        maps = self.extractor.run_frozen(image.mirrored() if flipped else image)
        return tuple(replace(m, values=m.values.to(self.dtype)) for m in maps)

    def _keep(self, key: tuple[int, bool], maps: tuple[FeatureMap, ...]) -> None:
        size = sum(m.values.numel() * m.values.element_size() for m in maps)
        if size <= self.budget:
            self.budget -= size
            self._kept[key] = moved(maps, torch.device("cpu"))
