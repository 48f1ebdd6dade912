"""Graph-based image segmentation (Felzenszwalb and Huttenlocher 2004), many k for one sort.

The graph of an image does not depend on k, so its edges are weighed and sorted once a colour space;
each k is then one pass over them with disjoint sets.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32

from detection.proposals.jit import jit

DIGIT_BITS = 11
NUM_DIGITS = 1 << DIGIT_BITS
# Weights keep 17 significant bits, so that two passes of 11 bits sort them. Below 2**-8 grey levels
# a weight counts as 0: an 8-bit image has no such contrast to tell.
LEAST_WEIGHT_BITS = np.uint32(0x3B800000)
DROPPED_BITS = np.uint32(6)
BLOCK = 128  # edges


@jit
def sort_edges(
    planes: Float32[np.ndarray, "c h w"],
) -> tuple[Float32[np.ndarray, " e"], Int32[np.ndarray, " e"]]:
    """Give the weights of the edges between 4-neighbours, ascending, and the edges' numbers.

    The weight is the Euclidean distance of the two pixels' values. Edge ``2 p`` goes from pixel
    ``p`` to its right neighbour, ``2 p + 1`` to the one below; of equal weights the lower number
    comes first.
    """
    num_channels, height, width = planes.shape
    right = np.zeros((height, width), np.float32)
    down = np.zeros((height, width), np.float32)
    for c in range(num_channels):
        for i in range(height):
            for j in range(width - 1):
                d = planes[c, i, j] - planes[c, i, j + 1]
                right[i, j] += d * d
        for i in range(height - 1):
            for j in range(width):
                d = planes[c, i, j] - planes[c, i + 1, j]
                down[i, j] += d * d
    num_edges = height * (width - 1) + (height - 1) * width
    right_keys = np.sqrt(right).view(np.uint32)
    down_keys = np.sqrt(down).view(np.uint32)
    entries = np.empty(num_edges, np.uint64)
    starts = np.zeros((2, NUM_DIGITS), np.int32)
    mask = np.uint32(NUM_DIGITS - 1)
    e = 0
    for i in range(height):
        for j in range(width):
            for direction in range(2):
                if direction == 0:
                    if j + 1 == width:
                        continue
                    bits = right_keys[i, j]
                else:
                    if i + 1 == height:
                        continue
                    bits = down_keys[i, j]
                key = np.uint32(0)
                if bits > LEAST_WEIGHT_BITS:
                    key = (bits - LEAST_WEIGHT_BITS) >> DROPPED_BITS
                starts[0, key & mask] += 1
                starts[1, key >> np.uint32(DIGIT_BITS)] += 1
                edge = np.uint64(2 * (i * width + j) + direction)
                entries[e] = (np.uint64(key) << np.uint64(32)) | edge
                e += 1
    for digit in range(2):
        total = 0
        for value in range(NUM_DIGITS):
            count = starts[digit, value]
            starts[digit, value] = total
            total += count
    ordered = np.empty(num_edges, np.uint64)
    for digit in range(2):
        shift = np.uint64(32 + digit * DIGIT_BITS)
        wide_mask = np.uint64(NUM_DIGITS - 1)
        for e in range(num_edges):
            entry = entries[e]
            value = (entry >> shift) & wide_mask
            position = starts[digit, value]
            starts[digit, value] = position + 1
            ordered[position] = entry
        entries, ordered = ordered, entries
    bits_of = np.empty(num_edges, np.uint32)
    edges = np.empty(num_edges, np.int32)
    for e in range(num_edges):
        key = np.uint32(entries[e] >> np.uint64(32))
        bits_of[e] = (key << DROPPED_BITS) + LEAST_WEIGHT_BITS if key > 0 else np.uint32(0)
        edges[e] = np.int32(entries[e] & np.uint64(0xFFFFFFFF))
    return bits_of.view(np.float32), edges


@jit
def _root(parent: Int32[np.ndarray, " n"], x: int) -> int:
    """Find the representative of a set."""
    while parent[x] != x:
        x = parent[x]
    return x


@jit
def _join(
    parent: Int32[np.ndarray, " n"], size: Int32[np.ndarray, " n"], a: int, b: int
) -> tuple[int, int]:
    """Hang the smaller of two sets under the larger; give the representative and the size."""
    if size[a] < size[b]:
        a, b = b, a
    parent[b] = a
    size[a] += size[b]
    return a, size[a]


@jit
def segment(
    weights: Float32[np.ndarray, " e"],
    edges: Int32[np.ndarray, " e"],
    height: int,
    width: int,
    k: float,
    min_size: int,
) -> tuple[Int32[np.ndarray, "h w"], int]:
    """Label the pixels by component, in the order of the components' first pixels; and count them.

    The representatives of a block of edges are looked up together, ahead of the merging: these
    lookups do not wait for each other, and most edges inside a component end there.

    Args:
        weights: ascending, from `sort_edges`.
        edges: their numbers.
        height: of the image.
        width: of the image.
        k: preference for large components; larger gives fewer.
        min_size: components of fewer pixels are merged with a neighbour.
    """
    num_pixels = height * width
    parent = np.arange(num_pixels).astype(np.int32)
    size = np.ones(num_pixels, np.int32)
    threshold = np.full(num_pixels, np.float32(k))
    rejected = np.empty(weights.size, np.int32)
    num_rejected = 0
    starts = np.empty(BLOCK + 1, np.int32)
    ends = np.empty(BLOCK + 1, np.int32)
    positions = np.empty(BLOCK + 1, np.int32)
    for first in range(0, weights.size, BLOCK):
        num_open = 0
        for e in range(first, min(first + BLOCK, weights.size)):
            p = edges[e] >> 1
            q = p + (width if edges[e] & 1 else 1)
            a = parent[parent[p]]
            b = parent[parent[q]]
            parent[p] = a
            parent[q] = b
            starts[num_open], ends[num_open], positions[num_open] = a, b, e
            num_open += a != b
        for i in range(num_open):
            a = _root(parent, starts[i])
            b = _root(parent, ends[i])
            if a == b:
                continue
            weight = weights[positions[i]]
            if weight > threshold[a] or weight > threshold[b]:
                rejected[num_rejected] = edges[positions[i]]
                num_rejected += 1
                continue
            a, total = _join(parent, size, a, b)
            threshold[a] = weight + np.float32(k) / np.float32(total)
    for e in range(num_rejected):
        p = rejected[e] >> 1
        a = _root(parent, p)
        b = _root(parent, p + (width if rejected[e] & 1 else 1))
        if a != b and (size[a] < min_size or size[b] < min_size):
            _join(parent, size, a, b)
    labels = np.empty(num_pixels, np.int32)
    label_of = np.full(num_pixels, np.int32(-1))
    num_labels = 0
    for p in range(num_pixels):
        root = _root(parent, p)
        parent[p] = root
        if label_of[root] < 0:
            label_of[root] = num_labels
            num_labels += 1
        labels[p] = label_of[root]
    return labels.reshape(height, width), num_labels
