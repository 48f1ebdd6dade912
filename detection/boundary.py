"""What goes into a detector, and what comes out besides boxes and scores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

from detection.config import Config
from detection.data.image_like import ImageLike, to_image
from detection.features.extractor import FeatureExtractor
from detection.features.memory import encode_within_memory
from detection.heads.calibration import Calibration
from detection.io.interrupts import uncovered
from detection.proposals.search import propose
from detection.structures import Detections, FeatureMap, Image, Proposals

Detect = TypeVar("Detect", bound=Callable[..., Detections])

LEAST_THREADS = 2
"""Of torch, from which on the search runs beside the conv layers."""


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
    proposals = proposals or propose(image, config.proposals, threads=torch.get_num_threads())
    return image.to(device), proposals.boxes.to(device)


def inputs_and_maps(
    image: ImageLike, proposals: Proposals | None, config: Config, extractor: FeatureExtractor
) -> tuple[Image, Float[Tensor, "r 4"], tuple[FeatureMap, ...] | None]:
    """Return what `inputs` does, and the maps where they were computed beside the search.

    Both need the image alone: while one thread searches, this one runs the conv layers. Nothing
    runs beside anything where torch has too few threads, or where the boxes are known. The numbers
    are those of one after the other, and so are the errors: that of the search comes first.

    Args:
        image: an `Image`, an array of RGB, a Pillow image, or a path.
        proposals: its boxes; None runs selective search as configured.
        config: limits of the image, and how boxes are proposed.
        extractor: of the method.

    Returns:
        The image and its boxes on the device of the network; without maps, they are to be computed.
    """
    if proposals is not None or torch.get_num_threads() < LEAST_THREADS:
        return *inputs(image, proposals, config, extractor.device), None
    image = to_image(image, max_pixels=config.data.max_pixels)
    on_device = image.to(extractor.device)
    # Leaving the pool waits for the search, also after Ctrl-C: no thread outlives the call.
    with ThreadPoolExecutor(1, thread_name_prefix="proposals") as pool:
        # The conv layers have torch's threads: more of the search's would wait for theirs.
        threads = max(1, torch.get_num_threads() // 2)
        search = pool.submit(_search_beside, image, config, threads)
        try:
            maps = encode_within_memory(extractor, on_device)
        except Exception:
            search.result()
            raise
        boxes = search.result().boxes.to(extractor.device)
    return on_device, boxes, maps


def _search_beside(image: Image, config: Config, threads: int) -> Proposals:
    with uncovered():
        return propose(image, config.proposals, threads=threads)
