"""Hierarchical grouping: merge the two most similar regions, and repeat (Uijlings et al. 2013).

Similarities are integers, multiples of 2**-26, and histograms are counts, so that sums come out
the same in any order and with any vector width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from detection.kernels.jit import jit

# Four similarities sum to at most 2**28, so that one fits the upper half of a queue entry, signed.
UNIT = 1 << 26
LAST_PAIR = np.int64(0xFFFFFFFF)
TEXTURE_HISTOGRAMS = 8  # directions of the gradient, per channel


class _Regions(NamedTuple):
    """All regions of a hierarchy: row r is written when region r is created.

    Shares are stored beside the counts they come from: a pair is compared once, but a region
    belongs to many pairs, and counts add up exactly where rounded shares would not.
    """

    sizes: Int32[np.ndarray, " m"]
    boxes: Int32[np.ndarray, "m 4"]
    colour_counts: Int32[np.ndarray, "m c"]
    colour: Int32[np.ndarray, "m c"]
    texture_counts: Int32[np.ndarray, "m t"]
    texture: Int32[np.ndarray, "m t"]


class _Pairs(NamedTuple):
    """The pairs of regions that touch: a growing list, a linked list per region, and a queue.

    ``following[e, 0]`` is the pair after pair e in the list of ``ends[e, 0]``, ``following[e, 1]``
    in that of ``ends[e, 1]``; ``head`` is the first of each region's list; -1 ends a list.
    """

    ends: Int32[np.ndarray, "q 2"]
    following: Int32[np.ndarray, "q 2"]
    head: Int32[np.ndarray, " m"]
    heap: Int64[np.ndarray, " q"]


@jit
def _push(heap: Int64[np.ndarray, " q"], length: int, entry: Any) -> None:
    """Add an entry to a binary max-heap of ``length`` entries."""
    i = length
    while i > 0:
        above = (i - 1) >> 1
        if heap[above] >= entry:
            break
        heap[i] = heap[above]
        i = above
    heap[i] = entry


@jit
def _pop(heap: Int64[np.ndarray, " q"], length: int) -> Any:
    """Take the largest of ``length`` entries out of a binary max-heap."""
    largest = heap[0]
    entry = heap[length - 1]
    i = 0
    while True:
        below = 2 * i + 1
        if below >= length - 1:
            break
        if below + 1 < length - 1 and heap[below + 1] > heap[below]:
            below += 1
        if heap[below] <= entry:
            break
        heap[i] = heap[below]
        i = below
    heap[i] = entry
    return largest


@jit
def _similarity(
    a: int,
    b: int,
    sizes: Int32[np.ndarray, " r"],
    boxes: Int32[np.ndarray, "r 4"],
    texture: Int32[np.ndarray, "r t"],
    colour: Int32[np.ndarray, "r c"],
    num_pixels: int,
    uses: tuple[bool, bool, bool, bool],
) -> Any:
    """Add up the similarities that are in use, each in 0..UNIT (Uijlings et al. 2013, §3.2)."""
    use_colour, use_texture, use_size, use_fill = uses
    total = np.int64(0)
    if use_colour:
        # Shares sum to about UNIT, which 32 bits hold: a vector register then takes twice as many.
        common = np.int32(0)
        for i in range(colour.shape[1]):
            common += min(colour[a, i], colour[b, i])
        total += common
    if use_texture:
        common = np.int32(0)
        for i in range(texture.shape[1]):
            common += min(texture[a, i], texture[b, i])
        total += common
    both = np.int64(sizes[a]) + sizes[b]
    if use_size:
        total += UNIT - both * UNIT // num_pixels
    if use_fill:
        width = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
        height = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
        gap = max(np.int64(width) * height - both, 0)
        total += UNIT - gap * UNIT // num_pixels
    return total


@jit
def _normalise(
    counts: Int32[np.ndarray, " b"], shares: Int32[np.ndarray, " b"], total: int
) -> None:
    """Write the counts as shares of their total, in multiples of 1 / UNIT."""
    scale = np.float32(np.float64(UNIT) / total)
    for i in range(counts.size):
        shares[i] = np.int32(np.float32(counts[i]) * scale)


@jit
def _set_shares(regions: _Regions, r: int, num_channels: int) -> None:
    """Write a region's shares from its counts; histograms not in use have no columns."""
    pixels = regions.sizes[r] * num_channels
    _normalise(regions.colour_counts[r], regions.colour[r], pixels)
    _normalise(regions.texture_counts[r], regions.texture[r], pixels * TEXTURE_HISTOGRAMS)


@jit
def _initial_regions(
    sizes: Int32[np.ndarray, " r"],
    boxes: Int32[np.ndarray, "r 4"],
    texture: Int32[np.ndarray, "r t"],
    colour: Int32[np.ndarray, "r c"],
    num_channels: int,
    uses: tuple[bool, bool, bool, bool],
) -> _Regions:
    """Return the initial regions, with room for all that can be merged from them."""
    num_regions = sizes.size
    capacity = 2 * num_regions - 1
    num_colour = colour.shape[1] if uses[0] else 0
    num_texture = texture.shape[1] if uses[1] else 0
    regions = _Regions(
        np.empty(capacity, np.int32),
        np.empty((capacity, 4), np.int32),
        np.empty((capacity, num_colour), np.int32),
        np.empty((capacity, num_colour), np.int32),
        np.empty((capacity, num_texture), np.int32),
        np.empty((capacity, num_texture), np.int32),
    )
    regions.sizes[:num_regions] = sizes
    regions.boxes[:num_regions] = boxes
    regions.colour_counts[:num_regions] = colour[:, :num_colour]
    regions.texture_counts[:num_regions] = texture[:, :num_texture]
    for r in range(num_regions):
        _set_shares(regions, r, num_channels)
    return regions


@jit
def _merge(regions: _Regions, a: int, b: int, r: int, num_channels: int) -> None:
    """Write region r, the union of regions a and b."""
    sizes, boxes = regions.sizes, regions.boxes
    sizes[r] = sizes[a] + sizes[b]
    boxes[r, 0] = min(boxes[a, 0], boxes[b, 0])
    boxes[r, 1] = min(boxes[a, 1], boxes[b, 1])
    boxes[r, 2] = max(boxes[a, 2], boxes[b, 2])
    boxes[r, 3] = max(boxes[a, 3], boxes[b, 3])
    colour, texture = regions.colour_counts, regions.texture_counts
    for i in range(colour.shape[1]):
        colour[r, i] = colour[a, i] + colour[b, i]
    for i in range(texture.shape[1]):
        texture[r, i] = texture[a, i] + texture[b, i]
    _set_shares(regions, r, num_channels)


@jit
def _empty_pairs(room: int, capacity: int) -> _Pairs:
    """Return no pairs, with room for some."""
    return _Pairs(
        np.empty((room, 2), np.int32),
        np.empty((room, 2), np.int32),
        np.full(capacity, np.int32(-1)),
        np.empty(room, np.int64),
    )


@jit
def _link(
    ends: Int32[np.ndarray, "q 2"],
    following: Int32[np.ndarray, "q 2"],
    head: Int32[np.ndarray, " m"],
    e: int,
    a: int,
    b: int,
) -> None:
    """Enter pair e into the lists of its two regions."""
    ends[e, 0], ends[e, 1] = a, b
    following[e, 0], following[e, 1] = head[a], head[b]
    head[a] = head[b] = e


@jit
def _entry(similarity: Any, e: int) -> Any:
    """Return a pair's entry in the queue.

    One integer comparison orders the queue: by similarity, and of equal ones the pair that met
    first is the largest, because its index is counted down.
    """
    return (np.int64(similarity) << 32) | (LAST_PAIR - e)


@jit
def group(
    region_sizes: Int32[np.ndarray, " r"],
    region_boxes: Int32[np.ndarray, "r 4"],
    region_texture: Int32[np.ndarray, "r t"],
    region_colour: Int32[np.ndarray, "r c"],
    pairs: Int32[np.ndarray, "e 2"],
    num_channels: int,
    num_pixels: int,
    uses: tuple[bool, bool, bool, bool],
) -> Int32[np.ndarray, "m 4"]:
    """Merge the regions, most similar pair first; return all boxes in order of creation.

    The initial regions come first; a merged region's similarity to its neighbours is computed anew.
    Of equally similar pairs the one that met first is merged.

    Args:
        region_sizes: pixels.
        region_boxes: x1 y1 x2 y2, x2 and y2 exclusive.
        region_texture: counts, from `appearance.split_counts`.
        region_colour: counts.
        pairs: which regions touch.
        num_channels: of the colour space.
        num_pixels: of the image.
        uses: which similarities count: colour, texture, size, fill.
    """
    regions = _initial_regions(
        region_sizes, region_boxes, region_texture, region_colour, num_channels, uses
    )
    sizes, boxes, _, colour, _, texture = regions
    num_pairs = pairs.shape[0]
    met_pairs = _empty_pairs(4 * num_pairs + 64, sizes.size)
    ends, following, head, heap = met_pairs
    for e in range(num_pairs):
        a, b = pairs[e, 0], pairs[e, 1]
        _link(ends, following, head, e, a, b)
        value = _similarity(a, b, sizes, boxes, texture, colour, num_pixels, uses)
        _push(heap, e, _entry(value, e))
    return boxes[: _merge_all(regions, met_pairs, num_pairs, num_channels, num_pixels, uses)]


@jit
def _merge_all(
    regions: _Regions,
    pairs: _Pairs,
    num_pairs: int,
    num_channels: int,
    num_pixels: int,
    uses: tuple[bool, bool, bool, bool],
) -> int:
    """Merge until no two regions touch; return the number of regions."""
    # Arrays are taken out of their tuples once: numba counts references at each access.
    sizes, boxes, _, colour, _, texture = regions
    ends, following, head, heap = pairs
    length = num_pairs
    r = (sizes.size + 1) // 2
    alive = np.ones(sizes.size, np.bool_)
    met = np.full(sizes.size, np.int32(-1))
    while length > 0:
        e = int(LAST_PAIR - (_pop(heap, length) & LAST_PAIR))
        length -= 1
        a, b = ends[e, 0], ends[e, 1]
        # A heap cannot remove the pairs of a merged region cheaply: they stay until they come up.
        if not (alive[a] and alive[b]):
            continue
        alive[a] = alive[b] = False
        _merge(regions, a, b, r, num_channels)
        for old in (a, b):
            link = head[old]
            while link >= 0:
                side = 0 if ends[link, 0] == old else 1
                other = ends[link, 1 - side]
                link = following[link, side]
                # A neighbour of both parts must meet the whole only once.
                if not alive[other] or met[other] == r:
                    continue
                met[other] = r
                if num_pairs == len(heap):
                    ends = np.concatenate((ends, np.empty_like(ends)))
                    following = np.concatenate((following, np.empty_like(following)))
                    heap = np.concatenate((heap, np.empty_like(heap)))
                _link(ends, following, head, num_pairs, r, other)
                value = _similarity(r, other, sizes, boxes, texture, colour, num_pixels, uses)
                _push(heap, length, _entry(value, num_pairs))
                length += 1
                num_pairs += 1
        r += 1
    return r
