"""``detection browse``: the annotations of a data set, drawn and counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image as PilImage

from detection.config import DataConfig
from detection.report import plots
from detection.report.drawing import draw_truth, embed
from detection.report.images import read_or_none
from detection.report.page import write_page
from detection.report.parts import Section, svg
from detection.report.spp_figure import heat
from detection.structures import Dataset, GroundTruth
from detection.words import counted

MAX_SIDE = 420
MAX_BARS = 60
"""Of more classes, those with most objects are shown."""


def browse(
    dataset: Dataset,
    output: Path,
    *,
    num_images: int = 24,
    max_pixels: int = DataConfig().max_pixels,
) -> None:
    """Write one self-contained HTML page that shows a data set and its annotations.

    Args:
        dataset: as read for training or evaluation.
        output: the HTML file.
        num_images: how many images to draw; each class is on one as long as they last.
        max_pixels: a larger image is not decoded.

    Raises:
        DataError: if the page cannot be written.
    """
    truths = [record.truth for record in dataset.records]
    values = {
        "title": dataset.name,
        "overview": overview(dataset),
        "notes": dataset.notes,
        "classes": classes(truths, dataset.class_names),
        "sizes": sizes(truths),
        "gallery": gallery(dataset, num_images, max_pixels),
    }
    write_page(Path(output), "browse.html.j2", values)


def overview(dataset: Dataset) -> list[tuple[str, str]]:
    """Return the data set's counts, each with its name."""
    labels = [len(record.truth.labels) for record in dataset.records]
    difficult = sum(int(record.truth.difficult.sum()) for record in dataset.records)
    sizes = {record.truth.size for record in dataset.records}
    counts = [
        counted(len(labels), "image", spec=","),
        counted(len(dataset.class_names), "class", spec=","),
        counted(sum(labels) - difficult, "object", spec=","),
        counted(difficult, "difficult object", spec=","),
        counted(labels.count(0), "image without objects", "images without objects", ","),
        f"{sum(labels) / max(len(labels), 1):.1f} objects an image",
        counted(len(sizes), "image size", spec=","),
    ]
    return [(name, count) for count, name in (text.split(" ", 1) for text in counts)]


def classes(truths: Sequence[GroundTruth], class_names: Sequence[str]) -> Section:
    """Return one bar per class, most objects first, and the classes without objects."""
    counts = np.zeros((len(class_names), 2), dtype=int)
    for truth in truths:
        np.add.at(counts, (truth.labels.numpy(), truth.difficult.numpy().astype(int)), 1)
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    shown = [int(label) for label in order if counts[label].sum()][:MAX_BARS]
    figure = plots.count_bars(
        [class_names[label] for label in shown], counts[shown], ("objects", "difficult")
    )
    empty = [class_names[label] for label in range(len(class_names)) if not counts[label].sum()]
    return {
        "chart": svg(figure, "objects of each class", "classes"),
        "empty": empty,
        "left_out": len(class_names) - len(empty) - len(shown),
    }


def sizes(truths: Sequence[GroundTruth]) -> Section:
    """Return histograms of box sizes and aspect ratios, and a heat map of box positions."""
    boxes = np.concatenate([np.zeros((0, 4)), *(truth.boxes.double().numpy() for truth in truths)])
    extents = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    per_image = np.array([len(truth.labels) for truth in truths], dtype=float)
    charts = [
        plots.histogram(
            np.sqrt(extents.prod(axis=1)),
            x_label="side of a square of the box's area, pixels",
            y_label="objects",
            title="Size",
            logarithmic=True,
        ),
        plots.histogram(
            extents[:, 0] / extents[:, 1],
            x_label="width over height",
            y_label="objects",
            title="Shape",
            logarithmic=True,
        ),
        plots.histogram(
            per_image, x_label="objects", y_label="images", title="Objects an image", whole=True
        ),
    ]
    return {
        "charts": [svg(figure, "histogram", f"size{n}") for n, figure in enumerate(charts)],
        "map": embed(_occupancy_picture(truths), "PNG"),
    }


def _occupancy_picture(truths: Sequence[GroundTruth]) -> PilImage.Image:
    return heat(occupancy(truths), 420, square=True)


def occupancy(truths: Sequence[GroundTruth], cells: int = 32) -> Float[np.ndarray, "n n"]:
    """Count how many boxes cover each cell of a grid laid over every image."""
    counts = np.zeros((cells, cells))
    for truth in truths:
        height, width = truth.size
        grid = truth.boxes.numpy() * cells / np.array([width, height, width, height])
        for x1, y1, x2, y2 in np.rint(grid).astype(int):
            counts[max(y1, 0) : y2, max(x1, 0) : x2] += 1
    return counts


def gallery(dataset: Dataset, count: int, max_pixels: int) -> list[Section]:
    """Draw the annotations on images of all classes."""
    items = []
    for index in choose(dataset, count):
        record = dataset.records[index]
        image = read_or_none(record, max_pixels)
        if image is not None:
            picture = draw_truth(image, record.truth, dataset.class_names, max_side=MAX_SIDE)
            labels = record.truth.labels.tolist()
            names = sorted({dataset.class_names[label] for label in labels})
            height, width = record.truth.size
            items.append(
                {
                    "image_id": record.image_id,
                    "image": embed(picture),
                    "text": f"{width} x {height}, {', '.join(names) or 'no objects'}",
                }
            )
    return items


def choose(dataset: Dataset, count: int) -> list[int]:
    """Choose images: the first with each class, rare classes first, then evenly over the list."""
    labels = [set(record.truth.labels.tolist()) for record in dataset.records]
    frequency = {
        label: sum(label in present for present in labels)
        for label in range(len(dataset.class_names))
    }
    chosen: dict[int, None] = {}
    covered: set[int] = set()
    for label in sorted(frequency, key=lambda label: frequency[label]):
        if frequency[label] and label not in covered and len(chosen) < count:
            index = next(n for n, present in enumerate(labels) if label in present)
            chosen[index] = None
            covered |= labels[index]
    total = len(labels)
    for place in range(min(count, total)):
        if len(chosen) < count:
            chosen[place * total // min(count, total)] = None
    return sorted(chosen)
