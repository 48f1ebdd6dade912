"""What a training image undergoes: resize, crop, mirror, change of colour (SPP §3.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from detection.classification.views import corner_places
from detection.features.scale import resized_size
from detection.pretrain_config import PretrainConfig
from detection.structures import Size


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ColourAxes:
    """The principal components of the colours of a training set.

    Attributes:
        axes: one per row, RGB, of length 1; the first is the direction in which colours vary most.
        variances: along each axis, falling; pixels count from 0 to 1.
    """

    axes: Float[Tensor, "3 3"]
    variances: Float[Tensor, "3"]


def fit_colours(images: Iterable[UInt8[Tensor, "3 _ _"]]) -> ColourAxes:
    """Return the principal components of all pixels of some images.

    Args:
        images: RGB; each pixel counts the same.

    Raises:
        ValueError: without an image.
    """
    count, total, products = 0, torch.zeros(3).double(), torch.zeros(3, 3).double()
    for image in images:
        pixels = image.flatten(1).double() / 255
        count += pixels.shape[1]
        total += pixels.sum(dim=1)
        products += pixels @ pixels.T
    if count == 0:
        message = "colours: expected at least one image, got none"
        raise ValueError(message)
    mean = total / count
    variances, vectors = torch.linalg.eigh(products / count - torch.outer(mean, mean))
    return ColourAxes(
        axes=vectors.T.flip(0).float(), variances=variances.flip(0).clamp(min=0).float()
    )


def colour_shift(colours: ColourAxes, strengths: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Return the offsets added to each image's R, G and B, on the scale 0..255.

    ``[p1 p2 p3] [a1 v1, a2 v2, a3 v3]^T`` with the axes p, their variances v and the strengths a,
    all of pixels that count from 0 to 1.

    Args:
        colours: of the training set.
        strengths: one an axis, drawn from N(0, 0.1) for each image anew.

    Source:
        Krizhevsky et al. 2012 §4.1, by SPP §3.1.
    """
    return 255 * (strengths * colours.variances) @ colours.axes


def resize_image(image: UInt8[Tensor, "3 h w"], size: Size) -> UInt8[Tensor, "3 a b"]:
    """Return an image resized to (height, width), bilinear with antialiasing."""
    if tuple(image.shape[1:]) == size:
        return image
    resized: Tensor = transforms.resize(image, list(size), antialias=True)
    return resized


def resize_short_side(
    image: UInt8[Tensor, "3 h w"], short_side: int, min_size: int
) -> UInt8[Tensor, "3 a b"]:
    """Return an image resized so that its shorter side is ``short_side``.

    Of a very long one the shorter side becomes less (``features.scale.MAX_ASPECT``), but never
    less than ``min_size``: it is stretched then.
    """
    size = (int(image.shape[1]), int(image.shape[2]))
    return resize_image(image, resized_size(size, short_side, min_size=min_size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What chance does to one image in one epoch.

    Attributes:
        row, column: the crop's place among the places it may have, in [0, 1).
        corner: the crop's place among the centre and the four corners.
        flip: mirror it.
        strengths: of the change along each colour axis.
    """

    row: float
    column: float
    corner: int
    flip: bool
    strengths: tuple[float, float, float]


def draw(config: PretrainConfig, epoch: int, index: int) -> Draw:
    """Decide what happens to an image in an epoch; the same arguments decide the same.

    Args:
        config: its seed and its kinds of augmentation.
        epoch: from 0.
        index: of the image in its set.
    """
    rng = np.random.default_rng([config.seed, 1, epoch, index])
    row, column, flip = rng.uniform(size=3).tolist()
    red, green, blue = (config.colour * rng.standard_normal(3)).tolist()
    return Draw(
        row=row,
        column=column,
        corner=int(rng.integers(5)),
        flip=config.flip and flip < 0.5,
        strengths=(red, green, blue),
    )


def augment(
    image: UInt8[Tensor, "3 h w"], config: PretrainConfig, side: int, drawn: Draw
) -> UInt8[Tensor, "3 side side"]:
    """Return a crop of ``config.crop`` pixels, resized to ``side`` and possibly mirrored.

    A smaller input shows the same part of the image as a larger one (SPP §3.1.3).

    Args:
        image: resized, at least as large as the crop.
        config: the crop and its rule.
        side: of the network's input in this epoch.
        drawn: where to crop, whether to mirror.
    """
    crop, height, width = config.crop, image.shape[1], image.shape[2]
    if config.crops == "corners":
        top, left = corner_places((height, width), crop)[drawn.corner]
    else:
        top = int(drawn.row * (height - crop + 1))
        left = int(drawn.column * (width - crop + 1))
    part = resize_image(image[:, top : top + crop, left : left + crop], (side, side))
    return part.flip(2) if drawn.flip else part


def input_side(config: PretrainConfig, epoch: int) -> int:
    """Return the network's input side for an epoch, counted from 0.

    Source:
        SPP §3.1.3: a full epoch with 224, then one with 180; or any side between, drawn each epoch.
    """
    if config.size_rule == "alternate":
        return config.sizes[epoch % len(config.sizes)]
    rng = np.random.default_rng([config.seed, 2, epoch])
    return int(rng.integers(min(config.sizes), max(config.sizes) + 1))


def epoch_order(config: PretrainConfig, epoch: int, count: int) -> list[int]:
    """Return the order of the images in an epoch, counted from 0."""
    order: list[int] = np.random.default_rng([config.seed, 3, epoch]).permutation(count).tolist()
    return order
