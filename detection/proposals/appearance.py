"""Colour and texture histograms of regions, counted once for all segmentations of a colour space.

Every pixel falls into one colour bin a channel, and for each of four directions into one of twenty
texture bins: ten for the strength of a rising gradient, ten for a falling one. The pixels are
counted by *cell*, an intersection of the segmentations of one colour space; a region is a union of
cells, so its histogram is a sum.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int16, Int32, UInt8, UInt16

from detection.proposals.jit import jit

COLOUR_BINS = 25  # a channel (Uijlings et al. 2013, §3.2)
TEXTURE_BINS = 10  # a direction and channel (the same)
DIRECTIONS = 4  # each with its opposite
CODES = 2 * TEXTURE_BINS
CHANNEL_CODES = DIRECTIONS * CODES + COLOUR_BINS


@jit
def code_pixels(
    planes: UInt8[np.ndarray, "c n"],
    gradients_x: Int16[np.ndarray, "c n"],
    gradients_y: Int16[np.ndarray, "c n"],
) -> UInt16[np.ndarray, "n f"]:
    """Give the histogram entries that each pixel adds to.

    The strengths of each direction are scaled to 0..254 by the largest in the image, then cut into
    ten bins of 25.6, as OpenCV does. The diagonal gradients are steered from the two others.
    """
    num_channels, num_pixels = planes.shape
    codes = np.empty((num_pixels, num_channels * (DIRECTIONS + 1)), np.uint16)
    for c in range(num_channels):
        offset = c * CHANNEL_CODES
        column = c * (DIRECTIONS + 1)
        for direction in range(DIRECTIONS):
            weight_x = np.int32(0 if direction == 1 else 1)
            weight_y = np.int32(0 if direction == 0 else (-1 if direction == 3 else 1))
            top = 1
            bottom = -1
            for p in range(num_pixels):
                g = weight_x * gradients_x[c, p] + weight_y * gradients_y[c, p]
                top = max(top, g)
                bottom = min(bottom, g)
            rising = np.float32(254) / np.float32(top)
            falling = np.float32(254) / np.float32(-bottom)
            for p in range(num_pixels):
                g = weight_x * gradients_x[c, p] + weight_y * gradients_y[c, p]
                if g >= 0:
                    level = np.int32(np.float32(g) * rising + np.float32(0.5))
                    code = TEXTURE_BINS + ((level * TEXTURE_BINS) >> 8)
                else:
                    level = np.int32(np.float32(254) + np.float32(g) * falling + np.float32(0.5))
                    code = (level * TEXTURE_BINS) >> 8
                codes[p, column + direction] = offset + direction * CODES + code
        colour_offset = offset + DIRECTIONS * CODES
        for p in range(num_pixels):
            bin_ = (np.int32(planes[c, p]) * COLOUR_BINS) >> 8
            codes[p, column + DIRECTIONS] = colour_offset + bin_
    return codes


@jit
def intersect_segmentations(
    labels: Int32[np.ndarray, "s n"], num_labels: int
) -> tuple[Int32[np.ndarray, " n"], Int32[np.ndarray, "s m"]]:
    """Label the pixels by cell, and give the region of each segmentation that holds each cell."""
    num_segmentations, num_pixels = labels.shape
    capacity = 1024
    keys = np.full(capacity, np.int64(-1))
    values = np.empty(capacity, np.int32)
    cells = np.empty(num_pixels, np.int32)
    regions = np.empty((num_segmentations, capacity), np.int32)
    num_cells = 0
    last_key = np.int64(-1)
    last_cell = np.int32(0)
    multiplier = np.int64(-7046029254386353131)  # 2**64 / golden ratio
    for p in range(num_pixels):
        key = np.int64(0)
        for s in range(num_segmentations):
            key = key * num_labels + labels[s, p]
        if key != last_key:
            slot = (key * multiplier >> 20) & (capacity - 1)
            while keys[slot] != -1 and keys[slot] != key:
                slot = (slot + 1) & (capacity - 1)
            if keys[slot] == -1:
                keys[slot] = key
                values[slot] = num_cells
                for s in range(num_segmentations):
                    regions[s, num_cells] = labels[s, p]
                num_cells += 1
            last_key = key
            last_cell = values[slot]
            if 2 * num_cells >= capacity:
                old_keys, old_values, old_regions, old = keys, values, regions, capacity
                capacity *= 4
                keys = np.full(capacity, np.int64(-1))
                values = np.empty(capacity, np.int32)
                regions = np.empty((num_segmentations, capacity), np.int32)
                regions[:, :old] = old_regions
                for i in range(old):
                    if old_keys[i] != -1:
                        slot = (old_keys[i] * multiplier >> 20) & (capacity - 1)
                        while keys[slot] != -1:
                            slot = (slot + 1) & (capacity - 1)
                        keys[slot] = old_keys[i]
                        values[slot] = old_values[i]
        cells[p] = last_cell
    return cells, regions[:, :num_cells].copy()


@jit
def count_codes(
    codes: UInt16[np.ndarray, "n f"], cells: Int32[np.ndarray, " n"], num_cells: int, num_codes: int
) -> Int32[np.ndarray, "m b"]:
    """Count each cell's codes."""
    counts = np.zeros((num_cells, num_codes), np.int32)
    num_pixels, num_features = codes.shape
    for p in range(num_pixels):
        row = counts[cells[p]]
        for f in range(num_features):
            row[codes[p, f]] += 1
    return counts


@jit
def region_histograms(
    cell_counts: Int32[np.ndarray, "m b"],
    region_of_cell: Int32[np.ndarray, " m"],
    num_regions: int,
    num_channels: int,
) -> tuple[Int32[np.ndarray, "r t"], Int32[np.ndarray, "r c"]]:
    """Sum the cells of each region; give its texture and its colour histogram.

    A pixel without a rising gradient counts as rising with strength 0 (the first bin), one without
    a falling gradient as falling with strength 0 (the last bin), so that each histogram of ten bins
    sums to the region's size.
    """
    counts = np.zeros((num_regions, cell_counts.shape[1]), np.int32)
    for cell in range(region_of_cell.size):
        region = region_of_cell[cell]
        for i in range(cell_counts.shape[1]):
            counts[region, i] += cell_counts[cell, i]
    texture = np.empty((num_regions, num_channels * DIRECTIONS * CODES), np.int32)
    colour = np.empty((num_regions, num_channels * COLOUR_BINS), np.int32)
    for region in range(num_regions):
        for c in range(num_channels):
            for direction in range(DIRECTIONS):
                source = c * CHANNEL_CODES + direction * CODES
                target = (c * DIRECTIONS + direction) * CODES
                num_falling = np.int32(0)
                num_rising = np.int32(0)
                for i in range(TEXTURE_BINS):
                    falling = counts[region, source + i]
                    rising = counts[region, source + TEXTURE_BINS + i]
                    texture[region, target + i] = falling
                    texture[region, target + TEXTURE_BINS + i] = rising
                    num_falling += falling
                    num_rising += rising
                texture[region, target + TEXTURE_BINS - 1] += num_rising
                texture[region, target + TEXTURE_BINS] += num_falling
            for i in range(COLOUR_BINS):
                colour[region, c * COLOUR_BINS + i] = counts[
                    region, c * CHANNEL_CODES + DIRECTIONS * CODES + i
                ]
    return texture, colour
