"""The values that travel through the pipeline: frozen, keyword-only, plain tensors inside.

Where they live: records, ground truth, proposals and detections are on the CPU, always. Feature
maps and RoI features are on the device of the network, and so is everything that a detector
computes between an image and its detections.

Boxes are ``x1 y1 x2 y2`` in pixels of the original image, continuous: the whole image is ``(0, 0,
width, height)``. Sizes are ``(height, width)``. Labels run from 0 to K-1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from detection.lazy import lazy
from detection.values import Size, Skipped
from detection.words import counted

if TYPE_CHECKING:
    import PIL.Image

showing = lazy("detection.report.showing")  # drawings stand above the values that they show
postprocess = lazy("detection.postprocess")

__all__ = [
    "CocoTerms",
    "ConvGeometry",
    "Dataset",
    "Detection",
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
        truncated: 1 of objects that the image's border or another thing cuts off, 0 of whole ones,
            -1 where the annotation does not say (VOC's flag); None where it says so of none.
        occluded: likewise, of objects that another hides in part.
    """

    image_id: str
    size: Size
    boxes: Float[Tensor, "n 4"]
    labels: Int[Tensor, " n"]
    difficult: Bool[Tensor, " n"]
    crowd: Bool[Tensor, " n"] | None = None
    truncated: Int[Tensor, " n"] | None = None
    occluded: Int[Tensor, " n"] | None = None


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
        lacking: labels that the file has no category of; their identifiers are made up.
    """

    image_ids: Mapping[str, int | str]
    category_ids: tuple[int | str, ...]
    annotations: tuple[dict[str, Any], ...]
    lacking: frozenset[int] = frozenset()


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


_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One object that was found.

    Attributes:
        box: image pixels, x1 y1 x2 y2.
        score: of its class; its probability where the detector is calibrated.
        label: 0..K-1.
        class_name: its name; the label as text where there are no names.
    """

    box: tuple[float, float, float, float]
    score: float
    label: int
    class_name: str


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Detections:
    """The detections of one image, best first: a sequence of `Detection`.

    Examples:
        >>> detections = Detections(
        ...     image_id="000012",
        ...     boxes=torch.tensor([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 9.0, 9.0]]),
        ...     scores=torch.tensor([0.75, 0.5]),
        ...     labels=torch.tensor([1, 0]),
        ...     class_names=("cat", "dog"),
        ... )
        >>> detections
        Detections of 000012: 2 detections: dog 1, cat 1
          dog 0.75  box 10 20 30 60
          cat 0.50  box 0 0 9 9
        >>> [one.class_name for one in detections if one.score > 0.6]
        ['dog']
        >>> len(detections.filter(classes=["cat"])), detections[0].label
        (1, 1)

    Attributes:
        image_id: stable identifier.
        boxes: image pixels, x1 y1 x2 y2; on the CPU, as are scores and labels.
        scores: unbounded SVM scores (or probabilities of a softmax), which they are ranked by.
        labels: 0..K-1.
        class_names: label -> name; empty where nobody said.
        num_unusable: scores and moved boxes that were not finite and are left out; an evaluation
            refuses them.
        source: the file that the image was read from, where it was; for drawings.
        probabilities: how likely each is right at IoU 0.5; None of a detector without calibration.
    """

    image_id: str
    boxes: Float[Tensor, "n 4"]
    scores: Float[Tensor, " n"]
    labels: Int[Tensor, " n"]
    class_names: tuple[str, ...] = ()
    num_unusable: int = 0
    source: Path | None = None
    probabilities: Float[Tensor, " n"] | None = None

    @property
    def confidences(self) -> Float[Tensor, " n"]:
        """The probabilities; the scores where there are none."""
        return self.scores if self.probabilities is None else self.probabilities

    def above(self, threshold: float) -> Detections:
        """Return the detections with at least this probability, or score where there is none."""
        return self[self.confidences >= threshold]

    def to_arrays(self) -> dict[str, Any]:
        """Return NumPy arrays under the names that the supervision library uses.

        ``supervision.Detections(**detections.to_arrays())`` is its own type; this package does not
        need the library.

        Returns:
            ``xyxy`` float32 (n, 4), ``confidence`` float32 (n,), probabilities where there are
            any, ``class_id`` int64 (n,) and
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
            "confidence": self.confidences.cpu().numpy().astype(np.float32),
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
            One row per detection, best first; ``bbox`` is x, y, width, height, and ``score`` the
            probability where there is one.

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
                boxes, self.confidences.tolist(), self.labels.tolist(), strict=True
            )
        ]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        """Return the detections one by one, best first."""
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, rows: int | np.integer) -> Detection: ...

    @overload
    def __getitem__(self, rows: slice | Sequence[int] | Tensor | np.ndarray) -> Detections: ...

    def __getitem__(self, rows: Any) -> Detection | Detections:
        """Return one detection, or some: by a slice, a list of rows or a mask."""
        if isinstance(rows, slice) or np.ndim(rows) > 0:
            return self._take(rows)
        row = int(rows)  # also a NumPy number, and what argmax returns
        label = int(self.labels[row])
        x1, y1, x2, y2 = self.boxes[row].tolist()
        name = self.class_names[label] if self.class_names else str(label)
        score = float(self.confidences[row])
        return Detection(box=(x1, y1, x2, y2), score=score, label=label, class_name=name)

    def __repr__(self) -> str:
        """Return how many there are of each class, and the best."""
        title = f"Detections of {self.image_id}: {self.summary()}"
        best = self[:_SHOWN]
        width = max((len(one.class_name) for one in best), default=0)
        lines = [
            f"  {one.class_name:<{width}} {one.score:.2f}  box {_whole(one.box)}" for one in best
        ]
        more = [f"  and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        return "\n".join([title, *lines, *more])

    def summary(self) -> str:
        """Return how many there are of each class: ``3 detections: cat 2, dog 1``."""
        counts = Counter(one.class_name for one in self).most_common()
        shown = ", ".join(f"{name} {count}" for name, count in counts[:_SHOWN])
        rest = counted(len(counts) - _SHOWN, "more class")
        more = f" and {rest}" if len(counts) > _SHOWN else ""
        return counted(len(self), "detection") + (f": {shown}{more}" if counts else "")

    def _take(self, rows: Any) -> Detections:
        """Return some of the detections, whatever is known of each."""
        return replace(self, **{name: getattr(self, name)[rows] for name in self._per_row()})

    def _per_row(self) -> list[str]:
        """Return the names of the fields that hold something of each detection."""
        names = [field.name for field in fields(self)]
        return [name for name in names if isinstance(getattr(self, name), Tensor)]

    def filter(
        self,
        *,
        score: float | None = None,
        classes: str | int | Collection[str | int] | None = None,
        min_area: float = 0.0,
    ) -> Detections:
        """Return the detections that meet all conditions.

        Args:
            score: at least this, as in ``above``.
            classes: a name or label, or several.
            min_area: of the box, in square pixels.
        """
        chosen = self if score is None else self.above(score)
        sides = chosen.boxes[:, 2:] - chosen.boxes[:, :2]
        kept = sides.prod(dim=1) >= min_area
        if classes is not None:
            wanted = (classes,) if isinstance(classes, str | int) else classes
            of_class = [one.class_name in wanted or one.label in wanted for one in chosen]
            kept &= torch.tensor(of_class, dtype=torch.bool)
        return chosen[kept]

    def merge(self, *others: Detections) -> Detections:
        """Return these and other detections of the same image, best first."""
        parts = (self, *others)
        joined: dict[str, Any] = {
            name: torch.cat([getattr(part, name) for part in parts])
            for name in self._per_row()
            if all(getattr(part, name) is not None for part in parts)
        }
        merged = replace(self, **({"probabilities": None} | joined))
        return merged[merged.scores.argsort(descending=True, stable=True)]

    def nms(self, iou: float) -> Detections:
        """Return the detections without those that overlap a better one of their class by more."""
        kept: Tensor = postprocess.multiclass_nms(self.boxes, self.scores, self.labels, iou)
        return self[kept.sort().values]

    def plot(self, image: Any = None, *, max_side: int = 0) -> PIL.Image.Image:
        """Return a Pillow image with the detections drawn.

        Args:
            image: what was detected on, as ``detect`` takes it; None reads the file again.
            max_side: shrink a larger image to this longer side; 0 keeps its size.

        Raises:
            DataError: if ``detect`` was not given a file, and no image is passed.
        """
        picture: PIL.Image.Image = showing.draw(self, image, max_side)
        return picture

    def save(self, path: str | Path, image: Any = None) -> None:
        """Write a drawing (``.png``, ``.jpg``) or a table (``.json``, ``.csv``).

        Args:
            path: the file to write.
            image: to draw on, as for ``plot``.

        Raises:
            ConfigError: for another ending.
            DataError: if there is no image to draw on, or the file cannot be written.
        """
        showing.save(self, Path(path), image)

    def to_pandas(self) -> Any:
        """Return a pandas data frame: ``class score x1 y1 x2 y2``.

        Raises:
            ConfigError: if pandas is not installed.
        """
        return showing.to_pandas(self)

    def to_supervision(self) -> Any:
        """Return ``supervision.Detections``.

        Raises:
            ConfigError: if supervision is not installed.
        """
        return showing.to_supervision(self)

    def _repr_html_(self) -> str:
        text: str = showing.to_html(self)
        return text

    def _repr_png_(self) -> bytes | None:
        data: bytes | None = showing.to_png(self)
        return data

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


def _whole(box: Sequence[float]) -> str:
    return " ".join(f"{value:.0f}" for value in box)
