"""Selective search by OpenCV's contributed modules, put into a reproducible order.

OpenCV finds the same set of boxes at each call but lists it by a random rank that differs from
call to call, small boxes first. Here the boxes are ranked anew, so that a cut to the best 2,000
keeps the same ones on every platform.
"""

from __future__ import annotations

import importlib.metadata
import logging
import threading
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from detection.config import ProposalConfig
from detection.errors import ConfigError
from detection.proposals.selective_search.ranking import (
    distinct_first,
    puts_distinct_first,
    rank_by_area,
    select_boxes,
)

DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_SEARCHING = threading.Lock()
logger = logging.getLogger(__name__)


def selective_search_opencv(
    pixels: UInt8[np.ndarray, "h w 3"], config: ProposalConfig, seed: int
) -> Float32[np.ndarray, "r 4"]:
    """Find boxes that may hold an object, of any class, best ranked first.

    Args:
        pixels: 8-bit RGB.
        config: mode, base_k, inc_k, sigma, min_side and order.
        seed: of the random part of the ranking.

    Returns:
        x1 y1 x2 y2 in pixels, without duplicates; not cut to ``max_boxes``.

    Raises:
        ConfigError: if OpenCV lacks selective search, or the mode.
    """
    if config.mode == "paper_fast":
        message = (
            "proposals.mode: expected fast or quality with the opencv backend, got 'paper_fast'; "
            "OpenCV fixes min_size at 100; choose proposals.backend=native"
        )
        raise ConfigError(message)
    search = segmentation_module().createSelectiveSearchSegmentation()
    with _SEARCHING:  # libc's rand() is shared, and OpenCV calls it for each region
        search.setBaseImage(np.ascontiguousarray(pixels[:, :, ::-1]))
        if config.mode == "fast":
            search.switchToSelectiveSearchFast(config.base_k, config.inc_k, config.sigma)
        else:
            search.switchToSelectiveSearchQuality(config.base_k, config.inc_k, config.sigma)
        corners = np.asarray(search.process(), dtype=np.int32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    boxes = select_boxes(rank_by_area(corners, seed), config.min_side)
    return distinct_first(boxes) if puts_distinct_first(config.order, config.mode) else boxes


def segmentation_module() -> Any:
    """Return ``cv2.ximgproc.segmentation``.

    Raises:
        ConfigError: with the commands that mend the installation, if OpenCV lacks it.
    """
    try:
        import cv2

        return cv2.ximgproc.segmentation
    except (ImportError, AttributeError) as error:
        raise ConfigError(_missing(installed_distributions())) from error


def check_installation() -> None:
    """Make sure that OpenCV has selective search.

    Raises:
        ConfigError: with the commands that mend the installation, if it has not.
    """
    segmentation_module()


def warn_of_several() -> None:
    """Warn where several packages share the folder ``cv2``: the next update may break it."""
    installed = installed_distributions()
    if len(installed) > 1:
        logger.warning(
            "two OpenCV packages share one folder and overwrite each other: %s; %s",
            ", ".join(installed),
            _commands(installed),
        )


def explain_import(error: ImportError) -> str:
    """Return in one line why OpenCV cannot be imported, and what mends it."""
    installed, reason = installed_distributions(), " ".join(str(error).split())
    mend = _commands(installed)
    if "libGL" in reason:  # a machine without a screen
        mend = mend.removesuffix("-headless") + "-headless"
    return (
        f"cv2: expected an OpenCV that can be imported, got {', '.join(installed) or 'none'} "
        f"({reason}); {mend}"
    )


def installed_distributions() -> tuple[str, ...]:
    """List the packages that put a ``cv2`` into this environment; more than one is a mistake."""
    installed = []
    for name in DISTRIBUTIONS:
        try:
            installed.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(installed)


def _missing(installed: tuple[str, ...]) -> str:
    """Return what is installed instead of the contributed modules, and how to fix it."""
    return (
        "proposals.backend: expected cv2.ximgproc for the opencv backend, got "
        f"{', '.join(installed) or 'no OpenCV'} without it; {_commands(installed)}, "
        "or choose proposals.backend=native"
    )


def _commands(installed: tuple[str, ...]) -> str:
    """Return the pip commands that leave only OpenCV with the contrib modules."""
    wanted = "opencv-contrib-python"
    if any("headless" in name for name in installed):
        wanted += "-headless"
    remove = " ".join(name.split()[0] for name in installed)
    uninstall = f"pip uninstall -y {remove} && " if installed else ""
    return f"{uninstall}pip install {wanted}"
