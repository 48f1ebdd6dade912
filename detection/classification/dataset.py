"""Labelled images for a classifier: class folders, cut-out objects, whole images.

An image is named by its file and, for a cut-out object, a rectangle; pixels are read when needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from detection.data.images import EXTENSIONS, MAX_PIXELS, read_image
from detection.data.issues import nearest
from detection.data.roots import require_class_folders
from detection.errors import DataError, is_line
from detection.structures import Dataset, Image, Size

Rectangle = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One labelled image.

    Attributes:
        example_id: stable identifier.
        path: the image's file.
        region: x1 y1 x2 y2 of the image in the upright image, half-open; None for all of it.
        label: 0..K-1.
    """

    example_id: str
    path: Path
    region: Rectangle | None
    label: int


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ClassificationSet:
    """Labelled images.

    Attributes:
        name: what to print.
        class_names: label -> name.
        examples: in a fixed order.
        notes: what was left out, kind -> count.
    """

    name: str
    class_names: tuple[str, ...]
    examples: tuple[Example, ...]
    notes: dict[str, int]


def read_image_folder(root: Path, *, class_names: Sequence[str] = ()) -> ClassificationSet:
    """Read a folder that has one folder of images for each class, as ImageNet's does.

    Args:
        root: the folder of the class folders; hidden ones are passed over.
        class_names: label order; empty takes the folders' names, sorted.

    Raises:
        DataError: if there is no class, a folder of no class, or a class without images.
    """
    require_class_folders(root)
    folders = {p.name: p for p in sorted(root.iterdir()) if p.is_dir() and p.name[0] != "."}
    names = tuple(class_names) or tuple(folders)
    _check_class_folders(root, folders, names)
    examples: list[Example] = []
    other_files = 0
    for label, name in enumerate(names):
        # Sorted: the order of a folder differs from file system to file system, and the order of
        # the examples decides which of them a seed draws.
        files = sorted(folders[name].iterdir()) if name in folders else []
        images = [p for p in files if p.suffix.lower() in EXTENSIONS and p.is_file()]
        other_files += len(files) - len(images)
        if not images:
            message = f"{root / name}: expected images of {name!r}, got none; add some"
            raise DataError(message)
        examples += [
            Example(example_id=f"{name}/{p.name}", path=p, region=None, label=label) for p in images
        ]
    return ClassificationSet(
        name=root.name,
        class_names=names,
        examples=tuple(examples),
        notes={"other files": other_files} if other_files else {},
    )


def _check_class_folders(root: Path, folders: Mapping[str, Path], names: Sequence[str]) -> None:
    """Raise DataError if there is no class, or a folder of a class that is not among the names."""
    if not names:
        message = f"{root}: expected a folder for each class, got none; make root/<class>/*.jpg"
        raise DataError(message)
    for name in names:
        if not is_line(name):
            message = f"{root}: expected names of classes in one line, got {name[:60]!r}; rename it"
            raise DataError(message)
    for name in sorted(folders.keys() - set(names)):
        message = f"{folders[name]}: expected a known class, got {name!r}; {nearest(name, names)}"
        raise DataError(message)


def cut_out_objects(
    dataset: Dataset, *, context: float = 0.15, min_side: int = 16, with_difficult: bool = False
) -> ClassificationSet:
    """Return a data set's annotated objects, each cropped to an image of its own.

    Args:
        dataset: images and boxes.
        context: added at each side, as a fraction of the box's longer side; clipped to the image.
        min_side: objects narrower or lower than this many pixels are left out, counted.
        with_difficult: take difficult objects too.
    """
    examples: list[Example] = []
    notes = {"difficult": 0, "small": 0}
    for record in dataset.records:
        truth = record.truth
        rows = zip(
            truth.boxes.tolist(), truth.labels.tolist(), truth.difficult.tolist(), strict=True
        )
        for number, (box, label, difficult) in enumerate(rows, start=1):
            small = min(box[2] - box[0], box[3] - box[1]) < min_side
            if small or (difficult and not with_difficult):
                notes["small" if small else "difficult"] += 1
                continue
            examples.append(
                Example(
                    example_id=f"{record.image_id}#{number}",
                    path=record.path,
                    region=_with_context(box, truth.size, context),
                    label=label,
                )
            )
    return ClassificationSet(
        name=f"objects of {dataset.name}",
        class_names=dataset.class_names,
        examples=tuple(examples),
        notes={kind: count for kind, count in notes.items() if count},
    )


def keep_largest(images: ClassificationSet) -> ClassificationSet:
    """Return the largest object of each class in each image, in the order they had.

    No class then has two objects of one image, of which a split could train on one and test the
    other.

    Args:
        images: objects, from `cut_out_objects`.
    """
    best: dict[tuple[Path, int], Example] = {}
    for example in images.examples:
        key = (example.path, example.label)
        if key not in best or _area(example) > _area(best[key]):
            best[key] = example
    kept = {example.example_id for example in best.values()}
    left_out = len(images.examples) - len(kept)
    return replace(
        images,
        examples=tuple(example for example in images.examples if example.example_id in kept),
        notes={**images.notes, "smaller": left_out} if left_out else images.notes,
    )


def _area(example: Example) -> int:
    x1, y1, x2, y2 = example.region or (0, 0, 0, 0)
    return (x2 - x1) * (y2 - y1)


def _with_context(box: Sequence[float], size: Size, context: float) -> Rectangle:
    """Return the box with its context, rounded to whole pixels and clipped to the image."""
    margin = context * max(box[2] - box[0], box[3] - box[1])
    return (
        max(0, math.floor(box[0] - margin)),
        max(0, math.floor(box[1] - margin)),
        min(size[1], math.ceil(box[2] + margin)),
        min(size[0], math.ceil(box[3] + margin)),
    )


def read_examples(examples: Iterable[Example], *, max_pixels: int = MAX_PIXELS) -> Iterator[Image]:
    """Return the images in order; a file is read once for consecutive crops of it.

    Raises:
        DataError: where the iteration reaches an image that cannot be read.
    """
    path: Path | None = None
    whole: Image | None = None
    for example in examples:
        if whole is None or example.path != path:
            path, whole = example.path, read_image(example.path, max_pixels=max_pixels)
        x1, y1, x2, y2 = example.region or (0, 0, whole.size[1], whole.size[0])
        pixels = whole.pixels[y1:y2, x1:x2].clone()
        yield Image(image_id=example.example_id, pixels=pixels)


def image_level_labels(dataset: Dataset) -> Int[Tensor, "n k"]:
    """Return the classes of each image: 1 present, -1 absent, 0 if all its objects are difficult.

    Source:
        The VOC devkit's ``ImageSets/Main/<class>_<split>.txt``; its classification measure ignores
        the images with 0.
    """
    labels = torch.full((len(dataset.records), len(dataset.class_names)), -1, dtype=torch.int64)
    for row, record in zip(labels, dataset.records, strict=True):
        truth = record.truth
        row[truth.labels[truth.difficult]] = 0
        row[truth.labels[~truth.difficult]] = 1
    return labels
