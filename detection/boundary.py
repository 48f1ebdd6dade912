"""What goes into a detector, and what comes out besides boxes and scores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

from detection.config import Config
from detection.data.image_like import ImageLike, to_image
from detection.heads.calibration import Calibration
from detection.proposals.search import propose
from detection.structures import Detections, Image, Proposals

Detect = TypeVar("Detect", bound=Callable[..., Detections])


def remembers_file(detect: Detect) -> Detect:
    """Return the method with results that know the file they are of, so that they can be drawn."""

    @functools.wraps(detect)
    def wrapped(self: Any, image: ImageLike, proposals: Proposals | None = None) -> Detections:
        found = detect(self, image, proposals)
        return replace(found, source=Path(image)) if isinstance(image, str | Path) else found

    return cast(Detect, wrapped)


def with_probabilities(
    detections: Detections, class_names: tuple[str, ...], calibration: Calibration | None
) -> Detections:
    """Return final detections with names and, where there is a calibration, probabilities.

    This comes after all that ranks: scores stay what they are.
    """
    if calibration is None:
        return replace(detections, class_names=class_names)
    probabilities = calibration.probabilities(detections.scores, detections.labels)
    return replace(detections, class_names=class_names, probabilities=probabilities)


def inputs(
    image: ImageLike, proposals: Proposals | None, config: Config, device: torch.device
) -> tuple[Image, Float[Tensor, "r 4"]]:
    """Return an image and its boxes on a device.

    Args:
        image: an `Image`, an array of RGB, a Pillow image, or a path.
        proposals: its boxes; None runs selective search as configured.
        config: limits of the image, and how boxes are proposed.
        device: of the network.
    """
    image = to_image(image, max_pixels=config.data.max_pixels)
    proposals = proposals or propose(image, config.proposals)
    return image.to(device), proposals.boxes.to(device)
