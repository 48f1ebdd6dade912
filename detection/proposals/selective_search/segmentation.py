"""Graph-based image segmentation (Felzenszwalb and Huttenlocher 2004), many k for one sort.

The graph of an image does not depend on k, so its edges are weighed and sorted once per colour
space; each k is then one pass over them with disjoint sets. Indices are unsigned because numba
checks signed ones for Python's negative indexing, which costs a third of the time here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt32, UInt64

from detection.kernels.jit import jit

ONE = np.uint32(1)
DIGIT_BITS = np.uint64(11)
NUM_DIGITS = 2048
LAST_DIGIT = np.uint64(NUM_DIGITS - 1)
KEY_SHIFT = np.uint64(32)
# Weights keep 17 significant bits, so that two passes of 11 bits sort them. Below 2**-8 grey levels
# a weight counts as 0: an 8-bit image has no such contrast to tell.
LEAST_WEIGHT_BITS = np.uint32(0x3B800000)
DROPPED_BITS = np.uint32(6)
BLOCK = 64  # edges whose sets are looked up together


@jit
def _weigh_edges(planes: Float32[np.ndarray, "c h w"]) -> Float32[np.ndarray, "2 h w"]:
    """Return the weights of each pixel's edges to its right and lower neighbours."""
    num_channels, height, width = planes.shape
    squares = np.zeros((2, height, width), np.float32)
    # Channel by channel, right and lower neighbours apart: each inner loop reads and writes rows
    # without a branch, and vectorises.
    for c in range(num_channels):
        for i in range(height):
            for j in range(width - 1):
                difference = planes[c, i, j] - planes[c, i, j + 1]
                squares[0, i, j] += difference * difference
        for i in range(height - 1):
            for j in range(width):
                difference = planes[c, i, j] - planes[c, i + 1, j]
                squares[1, i, j] += difference * difference
    return np.sqrt(squares)


@jit
def _sort(entries: UInt64[np.ndarray, " e"]) -> UInt64[np.ndarray, " e"]:
    """Sort by the 22-bit keys in the upper halves, keeping the order of equal ones (radix sort)."""
    # Two passes over the edges, whatever their number; NumPy's stable sort of float32 took 13 times
    # as long.
    for digit in range(2):
        shift = KEY_SHIFT + np.uint64(digit) * DIGIT_BITS
        starts = np.zeros(NUM_DIGITS, np.uint32)
        for e in range(entries.size):
            starts[(entries[e] >> shift) & LAST_DIGIT] += ONE
        total = np.uint32(0)
        for value in range(NUM_DIGITS):
            count = starts[value]
            starts[value] = total
            total += count
        ordered = np.empty_like(entries)
        for e in range(entries.size):
            entry = entries[e]
            value = (entry >> shift) & LAST_DIGIT
            ordered[starts[value]] = entry
            starts[value] += ONE
        entries = ordered
    return entries


@jit
def sort_edges(
    planes: Float32[np.ndarray, "c h w"],
) -> tuple[Float32[np.ndarray, " e"], UInt32[np.ndarray, " e"]]:
    """Return the edge weights between 4-neighbours, ascending, and the edges' indices.

    The weight is the Euclidean distance of the two pixels' values. Edge ``2 p`` goes from pixel
    ``p`` to its right neighbour, ``2 p + 1`` to the one below; of equal weights the lower number
    comes first.
    """
    _, height, width = planes.shape
    weights = _weigh_edges(planes).view(np.uint32)
    entries = np.empty(height * (width - 1) + (height - 1) * width, np.uint64)
    e = 0
    for i in range(height):
        for j in range(width):
            for direction in range(2):
                if (j + 1 == width) if direction == 0 else (i + 1 == height):
                    continue
                # Weights are not negative, so that their bits are in the order of their values.
                bits = max(weights[direction, i, j], LEAST_WEIGHT_BITS)
                key = (bits - LEAST_WEIGHT_BITS) >> DROPPED_BITS
                edge = np.uint64(2 * (i * width + j) + direction)
                # Key and edge in one integer: a pass of the sort moves them together.
                entries[e] = (np.uint64(key) << KEY_SHIFT) | edge
                e += 1
    entries = _sort(entries)
    sorted_bits = np.empty(entries.size, np.uint32)
    edges = np.empty(entries.size, np.uint32)
    for e in range(entries.size):
        key = np.uint32(entries[e] >> KEY_SHIFT)
        sorted_bits[e] = (key << DROPPED_BITS) + LEAST_WEIGHT_BITS if key > 0 else 0
        edges[e] = np.uint32(entries[e])
    return sorted_bits.view(np.float32), edges


@jit
def _root(parent: UInt32[np.ndarray, " n"], x: Any) -> Any:
    """Find the representative of a set."""
    while parent[x] != x:
        x = parent[x]
    return x


@jit
def _join(
    parent: UInt32[np.ndarray, " n"], size: Int32[np.ndarray, " n"], a: Any, b: Any
) -> tuple[Any, Any]:
    """Hang the smaller of two sets under the larger; return the representative and the size."""
    total = size[a] + size[b]
    # The larger keeps its root: paths to the root stay of logarithmic length.
    if size[a] < size[b]:
        a, b = b, a
    parent[b] = a
    size[a] = total
    return a, total


@jit
def segment(
    weights: Float32[np.ndarray, " e"],
    edges: UInt32[np.ndarray, " e"],
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
        k: preference for large components; a larger k leads to fewer.
        min_size: components of fewer pixels are merged with a neighbour.
    """
    num_pixels = height * width
    parent = np.arange(num_pixels).astype(np.uint32)
    size = np.ones(num_pixels, np.int32)
    # Internal difference plus k / size, kept up to date where sets merge, instead of two divisions
    # per edge.
    threshold = np.full(num_pixels, np.float32(k))
    # A lookup instead of a branch, which no processor could predict: directions come at random.
    step = np.array([1, width], np.uint32)
    # Only a rejected edge can still lie between two components at the end: the second pass, for
    # small components, reads no others.
    rejected = np.empty(weights.size, np.uint32)
    num_rejected = 0
    starts = np.empty(BLOCK + 1, np.uint32)
    ends = np.empty(BLOCK + 1, np.uint32)
    positions = np.empty(BLOCK + 1, np.uint32)
    for first in range(0, weights.size, BLOCK):
        num_open = 0
        for e in range(first, min(first + BLOCK, weights.size)):
            p = edges[e] >> ONE
            q = p + step[edges[e] & ONE]
            # Looking one step ahead and writing it back shortens the paths for the lookups to come.
            a = parent[parent[p]]
            b = parent[parent[q]]
            parent[p] = a
            parent[q] = b
            starts[num_open], ends[num_open], positions[num_open] = a, b, e
            # Written always, counted only if open: no branch.
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
        p = rejected[e] >> ONE
        a = _root(parent, p)
        b = _root(parent, p + step[rejected[e] & ONE])
        if a != b and (size[a] < min_size or size[b] < min_size):
            _join(parent, size, a, b)
    return _label(parent, height, width)


@jit
def _label(
    parent: UInt32[np.ndarray, " n"], height: int, width: int
) -> tuple[Int32[np.ndarray, "h w"], int]:
    """Number the sets in the order of their first pixels."""
    labels = np.empty(parent.size, np.int32)
    label_of = np.full(parent.size, np.int32(-1))
    num_labels = 0
    for p in range(parent.size):
        root = _root(parent, np.uint32(p))
        parent[p] = root
        if label_of[root] < 0:
            label_of[root] = num_labels
            num_labels += 1
        labels[p] = label_of[root]
    return labels.reshape(height, width), num_labels
