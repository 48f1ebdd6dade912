"""Selective search compiled by numba: OpenCV's parameters at many times OpenCV's speed.

Usable alone on any 8-bit RGB image in a NumPy array::

    from detection.proposals.selective_search.native import selective_search

    boxes = selective_search(pixels)              # (r, 4) float32, x1 y1 x2 y2, best first
    boxes = selective_search(pixels, mode="quality", threads=4)[:2000]

Modes:

* ``fast``: OpenCV's fast mode, 2 colour spaces x 3 segmentations x 2 similarities. About 1,000
  boxes of an image of 500 x 375 pixels.
* ``quality``: OpenCV's quality mode, 5 x 5 x 4 groupings. About 4,000 boxes.
* ``paper_fast``: the fast mode of Uijlings et al. as R-CNN and SPPnet call it, 2 x 2 x 2 groupings
  of finer segmentations. About 2,000 boxes.

Prefer it to ``cv2.ximgproc`` where time matters, where the list is cut (the best boxes come first),
where two runs must agree (OpenCV's order changes from call to call), or where OpenCV comes without
its contributed modules. Prefer OpenCV where numba cannot be installed, or where boxes must be those
of earlier work with OpenCV: the two differ in details of the diagonal gradients and of ties, so
that a few boxes in a hundred have no close counterpart.

How it differs in method from OpenCV: edges are sorted once per colour space, not once per
segmentation; colours and gradients are counted in one pass over the pixels for all segmentations of
a colour space; the next pair to merge comes from a heap rather than from a sorted list.

The first call of an installation compiles for some seconds, which is logged; the machine code is
then kept in a cache beside the package or, where that cannot be written, in the user's folder
(NUMBA_CACHE_DIR names another). Calls release the interpreter lock: images may also be searched in
threads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8, UInt32

from detection.errors import ConfigError
from detection.kernels.jit import NUMBA_AVAILABLE, can_cache, is_cached
from detection.proposals.selective_search import appearance, cells, grouping, segmentation
from detection.proposals.selective_search.ranking import (
    distinct_first,
    puts_distinct_first,
    rank_hierarchies,
    select_boxes,
)

__all__ = ["selective_search", "warm_up"]

logger = logging.getLogger(__name__)

VERSION = "1"
"""Changes whenever the boxes of an image or their order do."""

Mode = Literal["fast", "quality", "paper_fast"]
Order = Literal["auto", "paper", "distinct"]
Uses = tuple[bool, bool, bool, bool]

COLOUR_TEXTURE_SIZE_FILL: Uses = (True, True, True, True)
TEXTURE_SIZE_FILL: Uses = (False, True, True, True)
FILL: Uses = (False, False, False, True)
SIZE: Uses = (False, False, True, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    """Over what a mode varies the groupings (Uijlings et al. 2013, §3.2 and §5).

    Attributes:
        colour_spaces: names in `colour_planes`.
        segmentations: pairs of k and min_size of the initial segmentation.
        similarities: which of colour, texture, size, fill add up.
    """

    colour_spaces: tuple[str, ...]
    segmentations: tuple[tuple[int, int], ...]
    similarities: tuple[Uses, ...]


def diversity(mode: Mode, base_k: int, inc_k: int) -> Diversity:
    """Return the colour spaces, segmentations and similarities of a mode.

    Source:
        ``fast`` and ``quality``: OpenCV's functions of these names; ``paper_fast``: the fast mode
        of Uijlings et al. 2013 as R-CNN and SPPnet call it (selective_search_boxes.m).
    """
    if mode == "fast":
        return Diversity(
            colour_spaces=("hsv", "lab"),
            segmentations=tuple((base_k + i * inc_k, 100) for i in range(3)),
            similarities=(COLOUR_TEXTURE_SIZE_FILL, TEXTURE_SIZE_FILL),
        )
    if mode == "quality":
        return Diversity(
            colour_spaces=("hsv", "lab", "grey", "hue", "rgi"),
            segmentations=tuple((base_k + i * inc_k, 100) for i in range(5)),
            similarities=(COLOUR_TEXTURE_SIZE_FILL, TEXTURE_SIZE_FILL, FILL, SIZE),
        )
    return Diversity(
        colour_spaces=("hsv", "lab"),
        segmentations=((50, 50), (100, 100)),
        similarities=(COLOUR_TEXTURE_SIZE_FILL, TEXTURE_SIZE_FILL),
    )


def colour_planes(pixels: UInt8[np.ndarray, "h w 3"], space: str) -> UInt8[np.ndarray, "c h w"]:
    """Convert an RGB image to a colour space, plane by plane."""
    if space == "hsv":
        return np.stack(cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)))
    if space == "lab":
        return np.stack(cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2Lab)))
    if space == "hue":
        return np.stack([cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[:, :, 0]])
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if space == "grey":
        return np.stack([grey])
    return np.stack([pixels[:, :, 0], pixels[:, :, 1], grey])


def selective_search(  # noqa: PLR0913
    pixels: UInt8[np.ndarray, "h w 3"],
    *,
    mode: Mode = "fast",
    base_k: int = 150,
    inc_k: int = 150,
    sigma: float = 0.8,
    min_side: int = 20,
    order: Order = "auto",
    seed: int = 0,
    threads: int = 1,
) -> Float32[np.ndarray, "r 4"]:
    """Find boxes that may hold an object, of any class, best ranked first.

    The same image, parameters and seed give the same boxes in the same order, at any number of
    threads.

    Args:
        pixels: 8-bit RGB.
        mode: ``fast`` and ``quality`` as OpenCV defines them, or ``paper_fast``.
        base_k: of the first segmentation; for ``fast`` and ``quality``.
        inc_k: added for each further segmentation; for ``fast`` and ``quality``.
        sigma: Gaussian smoothing before the segmentation, in pixels.
        min_side: boxes narrower or lower than this many pixels are dropped.
        order: ``paper`` is position in the hierarchy times a random number; ``distinct`` moves
            boxes that are similar to a better one behind all others; ``auto`` is ``paper`` for the
            mode ``fast``, which has few boxes, otherwise ``distinct``.
        seed: of the random part of the ranking.
        threads: of this call.

    Returns:
        x1 y1 x2 y2 in pixels, without duplicates.

    Raises:
        ConfigError: if numba is not installed.
        ValueError: if the image is not 8-bit RGB.
    """
    if not NUMBA_AVAILABLE:
        message = (
            "proposals.backend: expected numba for the native backend, got no numba; "
            "pip install numba, or choose proposals.backend=opencv"
        )
        raise ConfigError(message)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        message = f"pixels: expected uint8 (height, width, 3), got {pixels.dtype} {pixels.shape}"
        raise ValueError(message)
    warm_up()
    plan = diversity(mode, base_k, inc_k)
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            hierarchies = _search(pixels, plan, sigma, pool.map)
    else:
        hierarchies = _search(pixels, plan, sigma, map)
    boxes = select_boxes(rank_hierarchies(hierarchies, seed), min_side)
    return distinct_first(boxes) if puts_distinct_first(order, mode) else boxes


def _search(
    pixels: UInt8[np.ndarray, "h w 3"],
    plan: Diversity,
    sigma: float,
    run: Callable[..., Iterable[Any]],
) -> list[Int32[np.ndarray, "m 4"]]:
    """Return the boxes of every grouping of the plan; ``run`` is ``map`` or a pool's map."""
    # Four rounds of independent tasks, by colour space or by segmentation: a pool has as many tasks
    # at once as there are segmentations, and all kernels release the interpreter lock.
    spaces = list(run(partial(_prepare, pixels=pixels, sigma=sigma), plan.colour_spaces))
    of_space = [s for s in range(len(spaces)) for _ in plan.segmentations]
    ks, min_sizes = zip(*plan.segmentations * len(spaces), strict=True)
    segments = list(run(_segment, [spaces[s] for s in of_space], ks, min_sizes))
    step = len(plan.segmentations)
    measured = list(
        run(_measure, spaces, [segments[i : i + step] for i in range(0, len(segments), step)])
    )
    tasks = (
        [measured[s] for s in of_space],
        list(range(step)) * len(spaces),
        [num_regions for _, num_regions in segments],
        [plan.similarities] * len(segments),
    )
    return [boxes for grouped in run(_group, *tasks) for boxes in grouped]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class _Space:
    """What all segmentations of one colour space share.

    Attributes:
        planes: the image in the colour space.
        weights: of the edges between pixels, ascending.
        edges: their numbers.
    """

    planes: UInt8[np.ndarray, "c h w"]
    weights: Float32[np.ndarray, " e"]
    edges: UInt32[np.ndarray, " e"]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class _Cells:
    """What was measured of the cells of one colour space.

    Attributes:
        num_pixels: of the image.
        num_channels: of the colour space.
        regions: the region of each segmentation that holds each cell.
        sizes: pixels.
        boxes: x1 y1 x2 y2, x2 and y2 exclusive.
        pairs: of cells that touch.
        counts: of codes.
    """

    num_pixels: int
    num_channels: int
    regions: Int32[np.ndarray, "s m"]
    sizes: Int32[np.ndarray, " m"]
    boxes: Int32[np.ndarray, "m 4"]
    pairs: Int32[np.ndarray, "p 2"]
    counts: Int32[np.ndarray, "m b"]


Segment = tuple[Int32[np.ndarray, "h w"], int]


def _prepare(space: str, pixels: UInt8[np.ndarray, "h w 3"], sigma: float) -> _Space:
    """Convert the colours and sort the edges."""
    planes = colour_planes(pixels, space)
    smooth = np.empty(planes.shape, np.float32)
    for channel, plane in enumerate(planes):
        cv2.GaussianBlur(plane.astype(np.float32), (0, 0), sigma, dst=smooth[channel])
    weights, edges = segmentation.sort_edges(smooth)
    return _Space(planes=planes, weights=weights, edges=edges)


def _segment(space: _Space, k: int, min_size: int) -> Segment:
    """Segment one colour space at one k."""
    _, height, width = space.planes.shape
    return segmentation.segment(space.weights, space.edges, height, width, float(k), min_size)


def _measure(space: _Space, segments: Sequence[Segment]) -> _Cells:
    """Measure the cells in which the segmentations of a colour space agree."""
    num_channels, height, width = space.planes.shape
    gradients = np.empty((num_channels, 2, height, width), np.int16)
    for plane, (along_x, along_y) in zip(space.planes, gradients, strict=True):
        # Sums of the Scharr kernel are at most 16 x 255: 16 bits hold them exactly.
        cv2.Scharr(plane, cv2.CV_16S, 1, 0, dst=along_x)
        cv2.Scharr(plane, cv2.CV_16S, 0, 1, dst=along_y)
    labels = np.stack([labels for labels, _ in segments])
    of_pixel, regions, sizes, boxes = cells.intersect_segmentations(labels)
    return _Cells(
        num_pixels=height * width,
        num_channels=num_channels,
        regions=regions,
        sizes=sizes,
        boxes=boxes,
        pairs=cells.unique_pairs(cells.touching_cells(of_pixel)),
        counts=appearance.count_codes(space.planes, gradients, of_pixel, len(sizes)),
    )


def _group(
    measured: _Cells, index: int, num_regions: int, similarities: Sequence[Uses]
) -> list[Int32[np.ndarray, "m 4"]]:
    """Group the regions of one segmentation, once for each similarity."""
    regions = measured.regions[index]
    pairs = cells.region_pairs(measured.pairs, regions)
    sizes, boxes, counts = cells.merge_cells(
        regions, num_regions, measured.sizes, measured.boxes, measured.counts
    )
    texture, colour = appearance.split_counts(counts, measured.num_channels)
    shape = (measured.num_channels, measured.num_pixels)
    return [
        grouping.group(sizes, boxes, texture, colour, pairs, *shape, uses) for uses in similarities
    ]


_warm = False


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache; at once where this is done already."""
    global _warm  # noqa: PLW0603
    if _warm or not NUMBA_AVAILABLE:
        return
    if not is_cached(grouping.group):
        how = "about 15 seconds, once; then it is cached"
        if not can_cache(grouping.group):
            how = (
                "about 15 seconds at every start: no folder is writable to keep it in; set "
                "NUMBA_CACHE_DIR to one"
            )
        logger.warning("compiling selective search: %s", how)
    start = time.perf_counter()
    for size in ((1, 1, 3), (24, 24, 3)):
        _search(np.zeros(size, np.uint8), diversity("fast", 150, 150), 0.8, map)
    _warm = True
    logger.debug("selective search is ready after %.1f s", time.perf_counter() - start)
