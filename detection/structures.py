"""The values that travel through the pipeline: frozen, keyword-only, plain tensors inside.

Where they live: records, ground truth, proposals and detections are on the CPU, always. Feature
maps and RoI features are on the device of the network, and so is everything that a detector
computes between an image and its detections.

Boxes are ``x1 y1 x2 y2`` in pixels of the original image, continuous: the whole image is ``(0, 0,
width, height)``. Sizes are ``(height, width)``. Labels run from 0 to K-1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from detection.values import Size, Skipped

__all__ = [
    "CocoTerms",
    "ConvGeometry",
    "Dataset",
    "Detections",
    "FeatureMap",
    "GroundTruth",
    "Image",
    "Proposals",
    "Record",
    "RoIFeatures",
    "Size",
    "Skipped",
]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Image:
    """One decoded image.

    Attributes:
        image_id: stable identifier, the file's stem in a VOC folder.
        pixels: 8-bit RGB, upright (EXIF applied). Readers return them on the CPU; a detector moves
            them to its device once, still 8-bit.
    """

    image_id: str
    pixels: UInt8[Tensor, "h w 3"]

    @property
    def size(self) -> Size:
        """The (height, width) of the image in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    def mirrored(self) -> Image:
        """Return the image mirrored left to right."""
        return Image(image_id=self.image_id, pixels=self.pixels.flip(1))

    def to(self, device: torch.device) -> Image:
        """Return the same image on another device."""
        return replace(self, pixels=self.pixels.to(device))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class GroundTruth:
    """The annotated objects of one image.

    Attributes:
        image_id: stable identifier.
        size: (height, width) of the image.
        boxes: image pixels, x1 y1 x2 y2.
        labels: 0..K-1.
        difficult: True for objects that VOC excludes from evaluation.
        crowd: which of the difficult ones are COCO's crowds, regions of many objects; None where
            none is.
    """

    image_id: str
    size: Size
    boxes: Float[Tensor, "n 4"]
    labels: Int[Tensor, " n"]
    difficult: Bool[Tensor, " n"]
    crowd: Bool[Tensor, " n"] | None = None


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Record:
    """One image of a data set: where its pixels are, and its ground truth."""

    image_id: str
    path: Path
    truth: GroundTruth


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class CocoTerms:
    """What a data set's own COCO file calls its images and classes, and its objects as they stand.

    Attributes:
        image_ids: a record's identifier -> the file's, a number or a text.
        category_ids: of each label.
        annotations: the file's entries of these images and classes: ``id image_id category_id bbox
            area iscrowd``, no number rounded and no box clipped.
    """

    image_ids: Mapping[str, int | str]
    category_ids: tuple[int | str, ...]
    annotations: tuple[dict[str, Any], ...]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Dataset:
    """One split of a data set, in the order of its list.

    Attributes:
        name: what to print, for example ``VOC2012 val``.
        split: the split's name.
        class_names: label -> name.
        records: one per image, images without objects included.
        notes: what the reader mended or left out, kind -> count (for example ``clipped box``).
        skipped: each object and image that was left out or counts as missed.
        coco: the terms of the COCO file that it was read from; None for another format.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    records: tuple[Record, ...]
    notes: dict[str, int]
    skipped: tuple[Skipped, ...] = ()
    coco: CocoTerms | None = None


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Proposals:
    """Class-agnostic candidate boxes of one image, best first.

    Attributes:
        image_id: stable identifier.
        boxes: image pixels, x1 y1 x2 y2.
    """

    image_id: str
    boxes: Float[Tensor, "r 4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvGeometry:
    """Where the cells of a feature map lie on the network's input.

    Attributes:
        stride: input pixels per cell (16 for conv5 of ZF-5, AlexNet, VGG16).
        offset: input pixel (0-based) of the centre of the first cell's receptive field (20 for ZF-5
            as released).
    """

    stride: int
    offset: float


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class FeatureMap:
    """What a network computed once for an image, at one scale.

    Attributes:
        values: channels x rows x columns.
        image_size: (height, width) of the original image.
        input_size: (height, width) of the resized image that went into the network.
        geometry: where the cells lie on that input.
    """

    values: Float[Tensor, "c h w"]
    image_size: Size
    input_size: Size
    geometry: ConvGeometry


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class RoIFeatures:
    """The feature vectors of r RoIs, each distinct vector stored once.

    Many proposals fall on the same feature cells: they share a row of ``values``, and every layer
    after the pooling sees the distinct rows only.

    Attributes:
        values: distinct vectors.
        rows: for each RoI its row in ``values``.
    """

    values: Float[Tensor, "u d"]
    rows: Int[Tensor, " r"]

    def map(self, layer: Callable[[Tensor], Tensor]) -> RoIFeatures:
        """Apply a row-wise layer once to each distinct vector."""
        return RoIFeatures(values=layer(self.values), rows=self.rows)

    def expand(self) -> Float[Tensor, "r d"]:
        """Return one row per RoI, in the order of the boxes."""
        return self.values[self.rows]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Detections:
    """The detections of one image, best first.

    Attributes:
        image_id: stable identifier.
        boxes: image pixels, x1 y1 x2 y2; on the CPU, as are scores and labels.
        scores: unbounded SVM scores (or probabilities of a softmax).
        labels: 0..K-1.
        class_names: label -> name; empty where nobody said.
        num_unusable: scores and moved boxes that were not finite and are left out; an evaluation
            refuses them.
    """

    image_id: str
    boxes: Float[Tensor, "n 4"]
    scores: Float[Tensor, " n"]
    labels: Int[Tensor, " n"]
    class_names: tuple[str, ...] = ()
    num_unusable: int = 0

    def above(self, threshold: float) -> Detections:
        """Return the detections with at least this score."""
        kept = self.scores >= threshold
        return replace(
            self, boxes=self.boxes[kept], scores=self.scores[kept], labels=self.labels[kept]
        )

    def to_arrays(self) -> dict[str, Any]:
        """Return NumPy arrays under the names that the supervision library uses.

        ``supervision.Detections(**detections.to_arrays())`` is its own type; this package does not
        need the library.

        Returns:
            ``xyxy`` float32 (n, 4), ``confidence`` float32 (n,), ``class_id`` int64 (n,) and
            ``data``, which holds ``class_name`` (n,), the labels as text where there are no names.

        Examples:
            >>> detections = Detections(
            ...     image_id="000012",
            ...     boxes=torch.tensor([[10.0, 20.0, 30.0, 60.0]]),
            ...     scores=torch.tensor([0.75]),
            ...     labels=torch.tensor([1]),
            ...     class_names=("cat", "dog"),
            ... )
            >>> arrays = detections.to_arrays()
            >>> arrays["xyxy"].tolist(), arrays["confidence"].tolist()
            ([[10.0, 20.0, 30.0, 60.0]], [0.75])
            >>> arrays["class_id"].tolist(), arrays["data"]["class_name"].tolist()
            ([1], ['dog'])
        """
        labels = self.labels.cpu().numpy().astype(np.int64)
        names = [self.class_names[n] if self.class_names else str(n) for n in labels.tolist()]
        return {
            "xyxy": self.boxes.cpu().numpy().astype(np.float32),
            "confidence": self.scores.cpu().numpy().astype(np.float32),
            "class_id": labels,
            "data": {"class_name": np.array(names, dtype=np.str_)},
        }

    def to_coco(
        self, image_id: int | str | None = None, category_ids: Sequence[int | str] | None = None
    ) -> list[dict[str, Any]]:
        """Return rows in COCO's result format: ``image_id category_id bbox score``.

        Args:
            image_id: as in the annotation file; None takes the image's own, as a number where
                it is one.
            category_ids: of each label; None takes the label plus 1.

        Returns:
            One row per detection, best first; ``bbox`` is x, y, width, height.

        Examples:
            >>> detections = Detections(
            ...     image_id="12",
            ...     boxes=torch.tensor([[10.0, 20.0, 30.0, 60.0]]),
            ...     scores=torch.tensor([0.75]),
            ...     labels=torch.tensor([1]),
            ... )
            >>> detections.to_coco()
            [{'image_id': 12, 'category_id': 2, 'bbox': [10.0, 20.0, 20.0, 40.0], 'score': 0.75}]
        """
        corners = self.boxes.double()
        boxes = torch.cat((corners[:, :2], corners[:, 2:] - corners[:, :2]), dim=1).tolist()
        own = _coco_id(self.image_id) if image_id is None else image_id
        return [
            {
                "image_id": own,
                "category_id": label + 1 if category_ids is None else category_ids[label],
                "bbox": box,
                "score": score,
            }
            for box, score, label in zip(
                boxes, self.scores.tolist(), self.labels.tolist(), strict=True
            )
        ]

    @staticmethod
    def none(image_id: str) -> Detections:
        """No detection at all."""
        return Detections(
            image_id=image_id,
            boxes=torch.zeros(0, 4),
            scores=torch.zeros(0),
            labels=torch.zeros(0, dtype=torch.int64),
        )


def _coco_id(image_id: str) -> int | str:
    """Return an image id for COCO: an integer if it is written as one."""
    plain = image_id.isascii() and image_id.isdecimal() and str(int(image_id)) == image_id
    return int(image_id) if plain else image_id
