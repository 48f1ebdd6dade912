"""Hierarchical grouping: merge the two most similar regions, and repeat (Uijlings et al. 2013).

Similarities are integers, multiples of 2**-26, and histograms are counts, so that sums come out
the same in any order and with any vector width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from detection.kernels.jit import jit

UNIT = 1 << 26


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
    num_regions = region_sizes.size
    capacity = 2 * num_regions - 1
    use_colour, use_texture = uses[0], uses[1]
    num_colour = region_colour.shape[1] if use_colour else 0
    num_texture = region_texture.shape[1] if use_texture else 0
    sizes = np.empty(capacity, np.int32)
    boxes = np.empty((capacity, 4), np.int32)
    colour_counts = np.empty((capacity, num_colour), np.int32)
    texture_counts = np.empty((capacity, num_texture), np.int32)
    colour = np.empty((capacity, num_colour), np.int32)
    texture = np.empty((capacity, num_texture), np.int32)
    sizes[:num_regions] = region_sizes
    boxes[:num_regions] = region_boxes
    colour_total = num_channels
    texture_total = num_channels * 8
    for r in range(num_regions):
        if use_colour:
            colour_counts[r] = region_colour[r]
            _normalise(colour_counts[r], colour[r], sizes[r] * colour_total)
        if use_texture:
            texture_counts[r] = region_texture[r]
            _normalise(texture_counts[r], texture[r], sizes[r] * texture_total)

    # Pairs live in a growing list; each region keeps a linked list of those it takes part in.
    num_pairs = pairs.shape[0]
    room = 4 * num_pairs + 64
    ends = np.empty((room, 2), np.int32)
    following = np.empty((room, 2), np.int32)
    heap = np.empty(room, np.int64)
    head = np.full(capacity, np.int32(-1))
    last_link = np.int64(0xFFFFFFFF)
    for e in range(num_pairs):
        a, b = pairs[e, 0], pairs[e, 1]
        ends[e, 0], ends[e, 1] = a, b
        following[e, 0], following[e, 1] = head[a], head[b]
        head[a] = head[b] = e
        value = _similarity(a, b, sizes, boxes, texture, colour, num_pixels, uses)
        _push(heap, e, (np.int64(value) << 32) | (last_link - e))
    length = num_pairs
    alive = np.ones(capacity, np.bool_)
    met = np.full(capacity, np.int32(-1))
    r = num_regions
    while length > 0:
        entry = _pop(heap, length)
        length -= 1
        e = int(last_link - (entry & last_link))
        a, b = ends[e, 0], ends[e, 1]
        if not (alive[a] and alive[b]):
            continue
        alive[a] = alive[b] = False
        sizes[r] = sizes[a] + sizes[b]
        boxes[r, 0] = min(boxes[a, 0], boxes[b, 0])
        boxes[r, 1] = min(boxes[a, 1], boxes[b, 1])
        boxes[r, 2] = max(boxes[a, 2], boxes[b, 2])
        boxes[r, 3] = max(boxes[a, 3], boxes[b, 3])
        if use_colour:
            for i in range(num_colour):
                colour_counts[r, i] = colour_counts[a, i] + colour_counts[b, i]
            _normalise(colour_counts[r], colour[r], sizes[r] * colour_total)
        if use_texture:
            for i in range(num_texture):
                texture_counts[r, i] = texture_counts[a, i] + texture_counts[b, i]
            _normalise(texture_counts[r], texture[r], sizes[r] * texture_total)
        for old in (a, b):
            link = head[old]
            while link >= 0:
                side = 0 if ends[link, 0] == old else 1
                other = ends[link, 1 - side]
                link = following[link, side]
                if not alive[other] or met[other] == r:
                    continue
                met[other] = r
                if num_pairs == room:
                    ends = np.concatenate((ends, np.empty_like(ends)))
                    following = np.concatenate((following, np.empty_like(following)))
                    heap = np.concatenate((heap, np.empty_like(heap)))
                    room *= 2
                ends[num_pairs, 0], ends[num_pairs, 1] = r, other
                following[num_pairs, 0], following[num_pairs, 1] = head[r], head[other]
                head[r] = head[other] = num_pairs
                value = _similarity(r, other, sizes, boxes, texture, colour, num_pixels, uses)
                _push(heap, length, (np.int64(value) << 32) | (last_link - num_pairs))
                length += 1
                num_pairs += 1
        r += 1
    return boxes[:r]
