"""Pictures of a data set with objects of its other pictures pasted in, as a VOC folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from detection.boxes import area, intersection
from detection.data.images import read_image
from detection.data.voc_xml import VocObject, write_voc_annotation
from detection.io.files import write_text_atomic
from detection.structures import Dataset, GroundTruth, Record

LIST = "pasted"
"""Of the images, and what their names begin with."""
LEAST_SIDE = 32
"""Objects with a shorter side are not pasted, pixels."""
SIDES = (0.2, 0.6)
"""The longer side of a pasted object, in shorter sides of the picture."""
MOST = 3
"""Objects pasted into a picture; at least one."""
EDGE = 4
"""Pixels over which a pasted object fades into the picture."""
HIDDEN = 0.5
"""An object of which more is covered is no object any more."""


def paste_objects(dataset: Dataset, folder: Path, seed: int = 0) -> None:
    """Write each image once with objects of any of the images pasted in, each class as often.

    What is pasted are whole boxes, scaled and half of the time mirrored: there are no outlines.

    Args:
        dataset: to take pictures and objects from.
        folder: gets JPEGImages, Annotations and, last, the list.
        seed: of what is pasted where.

    Source:
        Dwibedi et al. 2017 (arXiv 1708.01642), with boxes instead of outlines.
    """
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    sources = cuttings(dataset)
    names = [f"{LIST}_{record.image_id}" for record in dataset.records]
    for number, (name, record) in enumerate(zip(names, dataset.records, strict=True)):
        random = np.random.default_rng([seed, number])
        pixels, objects = pasted(record, sources, random)
        picture = PIL.Image.fromarray(pixels.permute(1, 2, 0).numpy())
        picture.save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
        path = folder / "Annotations" / f"{name}.xml"
        kept = list(voc_objects(objects, dataset.class_names))
        write_voc_annotation(path, f"{name}.jpg", record.truth.size, kept)
    write_text_atomic(
        folder / "ImageSets" / "Main" / f"{LIST}.txt", "".join(f"{name}\n" for name in names)
    )


def cuttings(dataset: Dataset) -> list[tuple[int, list[tuple[Record, list[int]]]]]:
    """Return each class that has objects to paste, with their records and corners."""
    found: dict[int, list[tuple[Record, list[int]]]] = {}
    for record in dataset.records:
        truth = record.truth
        large = (truth.boxes[:, 2:] - truth.boxes[:, :2]).amin(dim=1) >= LEAST_SIDE
        for row in (large & ~truth.difficult).nonzero().flatten().tolist():
            corners = truth.boxes[row].round().int().tolist()
            found.setdefault(int(truth.labels[row]), []).append((record, corners))
    return sorted(found.items())


def pasted(
    record: Record,
    sources: list[tuple[int, list[tuple[Record, list[int]]]]],
    random: np.random.Generator,
) -> tuple[Tensor, GroundTruth]:
    """Return the pixels of an image with objects pasted in, and all of its objects."""
    truth = record.truth
    pixels = read_image(record.path).pixels.permute(2, 0, 1)
    boxes, labels, difficult = truth.boxes, truth.labels, truth.difficult
    for _ in range(int(random.integers(1, MOST + 1))):
        label, objects = sources[int(random.integers(len(sources)))]
        pixels, box = paste(pixels, *objects[int(random.integers(len(objects)))], random)
        seen = intersection(boxes, box)[:, 0] <= HIDDEN * area(boxes)
        boxes = torch.cat((boxes[seen], box))
        labels = torch.cat((labels[seen], torch.tensor([label])))
        difficult = torch.cat((difficult[seen], torch.tensor([False])))
    size, image_id = truth.size, truth.image_id
    return pixels, GroundTruth(
        image_id=image_id, size=size, boxes=boxes, labels=labels, difficult=difficult
    )


def paste(
    pixels: Tensor, source: Record, corners: list[int], random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return the pixels with one object of another image pasted in, and its box."""
    x1, y1, x2, y2 = corners
    crop = read_image(source.path).pixels[y1:y2, x1:x2].permute(2, 0, 1)
    if random.random() < 0.5:
        crop = crop.flip(2)
    height, width = pixels.shape[1:]
    factor = random.uniform(*SIDES) * min(height, width) / max(crop.shape[1:])
    size = [max(1, round(factor * side)) for side in crop.shape[1:]]
    crop = transforms.resize(crop, size, antialias=True)
    top, left = (
        int(random.integers(0, a - b + 1)) for a, b in zip((height, width), size, strict=True)
    )
    rows, columns = (torch.arange(side) for side in size)
    edges = [torch.minimum(place, len(place) - 1 - place) for place in (rows, columns)]
    opaque = ((torch.minimum(edges[0][:, None], edges[1]) + 1) / EDGE).clamp(max=1)
    result = pixels.clone()
    below = result[:, top : top + size[0], left : left + size[1]]
    below.copy_((opaque * crop + (1 - opaque) * below).round())
    return result, torch.tensor([[left, top, left + size[1], top + size[0]]], dtype=torch.float32)


def voc_objects(truth: GroundTruth, class_names: tuple[str, ...]) -> list[VocObject]:
    """Return the objects as annotation files have them."""
    rows = zip(truth.boxes.tolist(), truth.labels.tolist(), truth.difficult.tolist(), strict=True)
    return [
        VocObject(
            number=number,
            class_name=class_names[label],
            corners=(x1 + 1, y1 + 1, x2, y2),
            difficult=difficult,
        )
        for number, ((x1, y1, x2, y2), label, difficult) in enumerate(rows, 1)
    ]
