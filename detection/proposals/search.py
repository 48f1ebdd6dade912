"""The proposals of one image, by whichever backend the configuration names."""

from __future__ import annotations

import logging
import zlib
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8

from detection.config import ProposalConfig
from detection.errors import DataError, ImageError
from detection.io.image_errors import NO_MEMORY
from detection.io.interrupts import raise_if_interrupted
from detection.kernels.jit import NUMBA_AVAILABLE
from detection.structures import Image, Proposals

Backend = Literal["native", "opencv"]

_LOG = logging.getLogger(__name__)


def propose(image: Image, config: ProposalConfig, *, threads: int = 1) -> Proposals:
    """Return the best ``max_boxes`` boxes of one image that may hold an object.

    The same image and configuration give the same list in any process and at any number of
    threads. An image on which nothing is found has no boxes.

    Args:
        image: 8-bit RGB.
        config: backend, mode and their parameters.
        threads: of the native backend; OpenCV uses one.

    Raises:
        ConfigError: if the backend is not installed or lacks the mode.
        ImageError: naming the image, if OpenCV refuses it.
    """
    proposals = propose_all(image, config, threads=threads)
    return truncate(proposals, config.max_boxes)


def truncate(proposals: Proposals, max_boxes: int) -> Proposals:
    """Keep the best ``max_boxes`` boxes; 0 keeps all."""
    if max_boxes == 0 or len(proposals.boxes) <= max_boxes:
        return proposals
    return Proposals(image_id=proposals.image_id, boxes=proposals.boxes[:max_boxes].clone())


def propose_all(image: Image, config: ProposalConfig, *, threads: int = 1) -> Proposals:
    """Return all boxes that `propose` would choose from."""
    pixels = image.pixels.cpu().contiguous().numpy()
    seed = zlib.crc32(pixels.data, zlib.crc32(f"{config.seed} {pixels.shape}".encode()))
    try:
        boxes = _search_at_size(pixels, config, seed, threads)
    except cv2.error as error:
        raise_if_interrupted(error)
        if error.code == cv2.Error.StsNoMem:
            message = f"{image.image_id}: {NO_MEMORY}"
            raise DataError(message) from error
        reason = " ".join(str(error).split())
        message = f"{image.image_id}: expected an image that OpenCV can search, got {reason}"
        raise ImageError(message) from error
    return Proposals(image_id=image.image_id, boxes=torch.from_numpy(boxes))


def resolve_backend(config: ProposalConfig) -> Backend:
    """Return the backend to use: ``auto`` is native if numba is installed."""
    if config.backend == "auto":
        return "native" if NUMBA_AVAILABLE or config.mode == "paper_fast" else "opencv"
    return config.backend


def with_backend(config: ProposalConfig) -> ProposalConfig:
    """Return the configuration with its backend by name, as a trained detector keeps it.

    A detector is trained on the boxes of one backend; ``auto`` could be another on another machine.
    """
    return config if config.import_file else replace(config, backend=resolve_backend(config))


def warn_of_other_backend(trained: ProposalConfig, used: ProposalConfig) -> None:
    """Warn if a detector is to see the boxes of another backend than it was trained on."""
    known = trained.backend != "auto" and not trained.import_file and not used.import_file
    if known and resolve_backend(used) != trained.backend:
        _LOG.warning(
            "proposals.backend: expected %s, whose boxes the detector was trained on, got %s; "
            "scores and accuracy will differ from those that were measured",
            trained.backend,
            resolve_backend(used),
        )


def _search_at_size(
    pixels: UInt8[np.ndarray, "h w 3"], config: ProposalConfig, seed: int, threads: int
) -> Float32[np.ndarray, "r 4"]:
    """Search on the image, shrunk to ``max_side`` where that is set and smaller."""
    height, width = pixels.shape[:2]
    factor = config.max_side / max(height, width) if config.max_side else 1.0
    if factor >= 1.0:
        return _search(pixels, config, config.min_side, seed, threads)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    boxes = _search(small, config, 1, seed, threads)
    x, y = width / size[0], height / size[1]
    boxes = np.multiply(boxes, np.array([x, y, x, y], np.float32))
    large = (boxes[:, 2:] - boxes[:, :2] >= config.min_side).all(axis=1)
    return np.asarray(boxes[large], np.float32)


def _search(
    pixels: UInt8[np.ndarray, "h w 3"],
    config: ProposalConfig,
    min_side: int,
    seed: int,
    threads: int,
) -> Float32[np.ndarray, "r 4"]:
    """Call the backend."""
    if resolve_backend(config) == "opencv":
        from detection.proposals.opencv import selective_search_opencv

        return selective_search_opencv(pixels, replace(config, min_side=min_side), seed)
    from detection.proposals.selective_search.native import selective_search

    return selective_search(
        pixels,
        mode=config.mode,
        base_k=config.base_k,
        inc_k=config.inc_k,
        sigma=config.sigma,
        min_side=min_side,
        order=config.order,
        seed=seed,
        threads=threads,
    )
