"""Draw the same image and boxes on their way through both methods: docs/images/two_methods.png.

``python docs/figures/two_methods.py``; the network is AlexNet with random weights.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, DataConfig
from detection.data.dataset import read_dataset
from detection.data.images import read_image
from detection.data.synthetic import synthesize
from detection.features.projection import project_boxes
from detection.features.scale import resized_size
from detection.features.warp import warp_boxes
from detection.structures import Record

COLOURS = ("#e6550d", "#31a354", "#3182bd", "#756bb1")
SHORT_SIDE = 600
MIN_SIDE = 40
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def brightness(conv5: Tensor) -> Tensor:
    """Return the mean of all channels."""
    return conv5.mean(dim=0)


def show(axes: Axes, values: Tensor, title: str, colour: str = "none") -> None:
    """Draw an image or a map without ticks, framed in the colour of its box."""
    axes.imshow(values.numpy(), cmap="viridis", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10, loc="left")
    for side in axes.spines.values():
        side.set(color=colour, linewidth=3)


def frame(axes: Axes, boxes: Tensor, shift: float = 0.0) -> None:
    """Draw boxes x1 y1 x2 y2, each in its colour."""
    for (x1, y1, x2, y2), colour in zip(boxes.tolist(), COLOURS, strict=False):
        corner = (x1 - shift, y1 - shift)
        axes.add_patch(Rectangle(corner, x2 - x1, y2 - y1, fill=False, ec="black", lw=4))
        axes.add_patch(Rectangle(corner, x2 - x1, y2 - y1, fill=False, ec=colour, lw=2.5))


def row(figure: Figure, grid: GridSpec, number: int, values: list[Tensor], title: str) -> None:
    """Draw one step of all boxes."""
    for i, (one, colour) in enumerate(zip(values, COLOURS, strict=True)):
        show(figure.add_subplot(grid[number, 4 + i]), one, "" if i else title, colour)


def suits(record: Record) -> bool:
    """Return whether an image is wide and has one object for each colour, none tiny."""
    (height, width), boxes = record.truth.size, record.truth.boxes
    large = bool(((boxes[:, 2:] - boxes[:, :2]).amin(dim=1) > MIN_SIDE).all())
    return len(boxes) == len(COLOURS) and width > 1.2 * height and large


@torch.no_grad()
def draw(out: Path) -> None:
    """Draw R-CNN's row and SPPnet's."""
    with tempfile.TemporaryDirectory() as name:
        synthesize(Path(name), train_images=60, test_images=1)
        records = read_dataset(DataConfig(root=name), "train").records
        record = next(r for r in records if suits(r))
        image = read_image(record.path)
    boxes = record.truth.boxes
    backbone = load_backbone(BackboneConfig(name="alexnet"), to_train=True)
    pixels = backbone.preprocessing.apply(image.pixels.permute(2, 0, 1)[None].float())
    crops = warp_boxes(pixels[0], boxes, backbone.crop_size, context=16)
    size = resized_size(image.size, SHORT_SIDE)
    conv5 = backbone.trunk(functional.interpolate(pixels, size, mode="bilinear"))[0]
    windows = project_boxes(boxes, image.size, size, backbone.geometry, tuple(conv5.shape[1:]))

    figure = plt.figure(figsize=(12, 6), dpi=100)
    grid = figure.add_gridspec(4, 8, hspace=0.4, wspace=0.12)
    left = figure.add_subplot(grid[0:2, 0:4])
    show(left, image.pixels, "R-CNN: 2,000 boxes, 2,000 runs of the conv layers")
    frame(left, boxes)
    shown = (crops * torch.tensor(DEVIATION)[:, None, None]) + torch.tensor(MEAN)[:, None, None]
    row(figure, grid, 0, [crop.permute(1, 2, 0) for crop in shown.clamp(0, 1)], "warp each box")
    maps = [brightness(one) for one in backbone.trunk(crops)]
    row(figure, grid, 1, maps, "run the conv layers on each crop")

    below = figure.add_subplot(grid[2:4, 0:4])
    show(below, brightness(conv5), "SPPnet: 2,000 boxes, one run of the conv layers")
    frame(below, windows, shift=0.5)
    cells = [conv5[:, y1:y2, x1:x2] for x1, y1, x2, y2 in windows.tolist()]
    row(figure, grid, 2, [brightness(one) for one in cells], "take each box's window of the map")
    bins = [brightness(functional.adaptive_max_pool2d(one, 6)) for one in cells]
    row(figure, grid, 3, bins, "pool it into bins: 6 x 6 here, and 3 x 3, 2 x 2, 1 x 1")
    figure.savefig(out, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    mpl.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parents[1] / "images" / "two_methods.png"
    parser.add_argument("--out", type=Path, default=default)
    draw(parser.parse_args().out)
