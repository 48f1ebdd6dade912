"""Cells: the intersections of all segmentations of one colour space.

Whatever a region needs (pixels, box, neighbours, histograms) is measured once for each cell and
then put together, so that one pass over the pixels does for any number of segmentations.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt32

from detection.kernels.jit import jit

FIRST_ROOM = 1024
MULTIPLIER = np.int64(-7046029254386353131)  # 2**64 / golden ratio, spreads keys over a hash table
SHIFT = 20  # the low bits of a product depend on the low bits of its factors alone


@jit
def intersect_segmentations(
    labels: Int32[np.ndarray, "s h w"],
) -> tuple[
    UInt32[np.ndarray, "h w"],
    Int32[np.ndarray, "s m"],
    Int32[np.ndarray, " m"],
    Int32[np.ndarray, "m 4"],
]:
    """Find the cells.

    Returns:
        the cell of each pixel, numbered in the order of their first pixels; the region of each
        segmentation that holds each cell; each cell's pixels; each cell's box, x1 y1 x2 y2, x2 and
        y2 exclusive.
    """
    num_segmentations, height, width = labels.shape
    cells = np.empty((height, width), np.uint32)
    slots = np.full(2 * FIRST_ROOM, np.int32(-1))
    hashes = np.empty(FIRST_ROOM, np.int64)
    regions = np.empty((num_segmentations, FIRST_ROOM), np.int32)
    sizes = np.empty(FIRST_ROOM, np.int32)
    boxes = np.empty((FIRST_ROOM, 4), np.int32)
    num_cells = 0
    starts = np.empty(width + 1, np.bool_)
    for i in range(height):
        _mark_runs(labels, i, starts)
        # Pixels of one run are in one cell: one search in the table is enough for all of them.
        j = 0
        while j < width:
            end = j + 1
            while not starts[end]:
                end += 1
            key = np.int64(0)
            for s in range(num_segmentations):
                key = (key + labels[s, i, j] + 1) * MULTIPLIER
            slot = (key >> SHIFT) & (slots.size - 1)
            cell = slots[slot]
            # Hashes of different cells may be equal: the labels themselves decide.
            while cell >= 0 and not _holds(regions, cell, labels, i, j):
                slot = (slot + 1) & (slots.size - 1)
                cell = slots[slot]
            if cell < 0:
                cell = slots[slot] = num_cells
                hashes[cell] = key
                _write_cell(regions, sizes, boxes, cell, labels, i, j)
                num_cells += 1
            sizes[cell] += end - j
            boxes[cell, 0] = min(boxes[cell, 0], j)
            boxes[cell, 2] = max(boxes[cell, 2], end)
            boxes[cell, 3] = i + 1
            cells[i, j:end] = cell
            j = end
            if num_cells == len(sizes):
                hashes, regions, sizes, boxes = _with_more_room(hashes, regions, sizes, boxes)
                slots = _rehash(hashes, num_cells, 2 * len(sizes))
    return cells, regions[:, :num_cells].copy(), sizes[:num_cells], boxes[:num_cells]


@jit
def _mark_runs(labels: Int32[np.ndarray, "s h w"], i: int, starts: Bool[np.ndarray, " w1"]) -> None:
    """Mark where in a row a run of pixels of equal labels starts, and the end of the row."""
    starts[:] = False
    starts[0] = starts[labels.shape[2]] = True
    for s in range(labels.shape[0]):
        row = labels[s, i]
        for j in range(1, labels.shape[2]):
            starts[j] |= row[j] != row[j - 1]


@jit
def _write_cell(
    regions: Int32[np.ndarray, "s m"],
    sizes: Int32[np.ndarray, " m"],
    boxes: Int32[np.ndarray, "m 4"],
    cell: int,
    labels: Int32[np.ndarray, "s h w"],
    i: int,
    j: int,
) -> None:
    """Write a new cell, at its first pixel and of no pixels yet."""
    for s in range(labels.shape[0]):
        regions[s, cell] = labels[s, i, j]
    sizes[cell] = 0
    boxes[cell, 0], boxes[cell, 1] = j, i
    boxes[cell, 2], boxes[cell, 3] = j + 1, i + 1


@jit
def _with_more_room(
    hashes: Int64[np.ndarray, " m"],
    regions: Int32[np.ndarray, "s m"],
    sizes: Int32[np.ndarray, " m"],
    boxes: Int32[np.ndarray, "m 4"],
) -> tuple[
    Int64[np.ndarray, " n"],
    Int32[np.ndarray, "s n"],
    Int32[np.ndarray, " n"],
    Int32[np.ndarray, "n 4"],
]:
    """Return full arrays with room for four times as many cells."""
    more = 3 * len(sizes)
    wider = np.empty((len(regions), len(sizes) + more), np.int32)
    wider[:, : len(sizes)] = regions
    return (
        np.concatenate((hashes, np.empty(more, np.int64))),
        wider,
        np.concatenate((sizes, np.empty(more, np.int32))),
        np.concatenate((boxes, np.empty((more, 4), np.int32))),
    )


@jit
def _holds(
    regions: Int32[np.ndarray, "s m"],
    cell: int,
    labels: Int32[np.ndarray, "s h w"],
    i: int,
    j: int,
) -> bool:
    """Return whether a pixel belongs to a cell."""
    same = True
    for s in range(labels.shape[0]):
        same &= regions[s, cell] == labels[s, i, j]
    return same


@jit
def _rehash(keys: Int64[np.ndarray, " m"], num_keys: int, room: int) -> Int32[np.ndarray, " q"]:
    """Build a hash table of positions in ``keys``, which are distinct or told apart elsewhere."""
    slots = np.full(room, np.int32(-1))
    for position in range(num_keys):
        slot = (keys[position] >> SHIFT) & (room - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (room - 1)
        slots[slot] = position
    return slots


@jit
def unique_pairs(pairs: Int32[np.ndarray, "p 2"]) -> Int32[np.ndarray, "e 2"]:
    """Keep the first of equal pairs in either order, and none of a label with itself."""
    # Twice the room, a power of two: half-empty tables have short searches, a mask replaces modulo.
    capacity = 1024
    while capacity < 2 * len(pairs):
        capacity *= 2
    slots = np.full(capacity, np.int64(-1))
    unique = np.empty_like(pairs)
    num_unique = 0
    for p in range(len(pairs)):
        low = min(pairs[p, 0], pairs[p, 1])
        high = max(pairs[p, 0], pairs[p, 1])
        if low == high:
            continue
        key = (np.int64(low) << 32) | high
        slot = (key * MULTIPLIER >> SHIFT) & (capacity - 1)
        while slots[slot] >= 0 and slots[slot] != key:
            slot = (slot + 1) & (capacity - 1)
        if slots[slot] < 0:
            slots[slot] = key
            unique[num_unique, 0] = low
            unique[num_unique, 1] = high
            num_unique += 1
    return unique[:num_unique]


@jit
def touching_cells(cells: UInt32[np.ndarray, "h w"]) -> Int32[np.ndarray, "p 2"]:
    """List the pairs of cells that touch at a side or an upper left corner, as OpenCV counts them.

    A pair may be listed more than once.
    """
    height, width = cells.shape
    pairs = np.empty((4096, 2), np.int32)
    num_pairs = 0
    # Along a border the same two cells meet at pixel after pixel: the last pair of each side is
    # remembered, which leaves few repeats for the hash table of `unique_pairs`.
    last = np.zeros((3, 2), np.uint32)
    for i in range(height):
        for j in range(width):
            here = cells[i, j]
            left = cells[i, j - 1] if j > 0 else here
            above = cells[i - 1, j] if i > 0 else here
            corner = cells[i - 1, j - 1] if i > 0 and j > 0 else here
            # ``&``, not ``and``: one branch, nearly always taken, instead of three.
            if (here == left) & (here == above) & (here == corner):
                continue
            if num_pairs + 3 > len(pairs):
                pairs = np.concatenate((pairs, np.empty_like(pairs)))
            for side in range(3):
                there = left if side == 0 else (above if side == 1 else corner)
                if here != there and not (last[side, 0] == here and last[side, 1] == there):
                    last[side, 0], last[side, 1] = here, there
                    pairs[num_pairs, 0], pairs[num_pairs, 1] = here, there
                    num_pairs += 1
    return pairs[:num_pairs]


@jit
def region_pairs(
    cell_pairs: Int32[np.ndarray, "p 2"], region_of_cell: Int32[np.ndarray, " m"]
) -> Int32[np.ndarray, "e 2"]:
    """List the pairs of regions that touch, each once, lower label first."""
    pairs = np.empty_like(cell_pairs)
    for p in range(len(cell_pairs)):
        pairs[p, 0] = region_of_cell[cell_pairs[p, 0]]
        pairs[p, 1] = region_of_cell[cell_pairs[p, 1]]
    return unique_pairs(pairs)


@jit
def merge_cells(
    region_of_cell: Int32[np.ndarray, " m"],
    num_regions: int,
    sizes: Int32[np.ndarray, " m"],
    boxes: Int32[np.ndarray, "m 4"],
    counts: Int32[np.ndarray, "m b"],
) -> tuple[Int32[np.ndarray, " r"], Int32[np.ndarray, "r 4"], Int32[np.ndarray, "r b"]]:
    """Return each region's pixels, box and counts, merged from its cells."""
    region_sizes = np.zeros(num_regions, np.int32)
    region_boxes = np.empty((num_regions, 4), np.int32)
    region_counts = np.zeros((num_regions, counts.shape[1]), np.int32)
    for cell in range(region_of_cell.size):
        r = region_of_cell[cell]
        if region_sizes[r] == 0:
            region_boxes[r] = boxes[cell]
        region_sizes[r] += sizes[cell]
        region_boxes[r, 0] = min(region_boxes[r, 0], boxes[cell, 0])
        region_boxes[r, 1] = min(region_boxes[r, 1], boxes[cell, 1])
        region_boxes[r, 2] = max(region_boxes[r, 2], boxes[cell, 2])
        region_boxes[r, 3] = max(region_boxes[r, 3], boxes[cell, 3])
        for b in range(counts.shape[1]):
            region_counts[r, b] += counts[cell, b]
    return region_sizes, region_boxes, region_counts
