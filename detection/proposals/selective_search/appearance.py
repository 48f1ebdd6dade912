"""Colour and texture histograms (Uijlings et al. 2013, §3.2).

Every pixel falls into one of 25 colour bins per channel, and for each of four directions into one
of twenty texture codes: ten for the strength of a falling gradient, ten for a rising one. Counts of
codes add up from cells to regions; `split_counts` turns them into the eight histograms of ten bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int16, Int32, UInt8, UInt32

from detection.kernels.jit import jit

COLOUR_BINS = 25
TEXTURE_BINS = 10
DIRECTIONS = 4  # each with its opposite
CODES = 2 * TEXTURE_BINS
CHANNEL_CODES = DIRECTIONS * CODES + COLOUR_BINS
FEATURES = DIRECTIONS + 1  # codes of a pixel and channel
STRONGEST = np.float32(254)  # what OpenCV scales the strongest gradient of an image to


@jit
def _gradient_along(
    direction: int, gradients: Int16[np.ndarray, "2 h w"], i: int, along: Int32[np.ndarray, " w"]
) -> None:
    """Write one row of gradients in a direction: 0, 90, 45 or -45 degrees."""
    row_x = gradients[0, i]
    row_y = gradients[1, i]
    for j in range(along.size):
        x = np.int32(row_x[j])
        y = np.int32(row_y[j])
        if direction == 0:
            along[j] = x
        elif direction == 1:
            along[j] = y
        elif direction == 2:
            # A derivative along a diagonal is a combination of the two others: nothing has to be
            # rotated.
            along[j] = x + y
        else:
            along[j] = x - y


@jit
def _extremes(
    gradients: Int16[np.ndarray, "2 h w"], direction: int, along: Int32[np.ndarray, " w"]
) -> tuple[Any, Any]:
    """Return an image's largest rise (>= 1) and fall (<= -1) in a direction."""
    top = np.int32(1)
    bottom = np.int32(-1)
    for i in range(gradients.shape[1]):
        _gradient_along(direction, gradients, i, along)
        for j in range(along.size):
            top = max(top, along[j])
            bottom = min(bottom, along[j])
    return top, bottom


@jit
def _write_texture_codes(
    along: Int32[np.ndarray, " w"],
    rising: np.float32,
    falling: np.float32,
    offset: int,
    codes: UInt32[np.ndarray, " w"],
) -> None:
    """Write the codes of one row of gradients, scaled by two factors."""
    half = np.float32(0.5)
    rise_offset = np.int32(offset + TEXTURE_BINS)
    fall_offset = np.int32(offset)
    for j in range(along.size):
        strength = np.float32(along[j])
        rise = np.int32(strength * rising + half)
        fall = np.int32(STRONGEST + strength * falling + half)
        level = fall if along[j] < 0 else rise
        first = fall_offset if along[j] < 0 else rise_offset
        # Strengths are at most 254, so that ten bins of 256 levels are a shift, not a division.
        codes[j] = first + ((level * np.int32(TEXTURE_BINS)) >> np.int32(8))


@jit
def count_codes(
    planes: UInt8[np.ndarray, "c h w"],
    gradients: Int16[np.ndarray, "c 2 h w"],
    cells: UInt32[np.ndarray, "h w"],
    num_cells: int,
) -> Int32[np.ndarray, "m b"]:
    """Count the codes of each cell's pixels, channel after channel: four directions, then colour.

    Gradient strengths are scaled to 0..254 by the strongest of the image and cut into ten bins, as
    OpenCV does. The diagonal gradients are steered from the two others.
    """
    num_channels, height, width = planes.shape
    num_features = num_channels * FEATURES
    along = np.empty(width, np.int32)
    scales = np.empty((num_features, 2), np.float32)
    for f in range(num_features):
        if f % FEATURES < DIRECTIONS:
            top, bottom = _extremes(gradients[f // FEATURES], f % FEATURES, along)
            scales[f, 0] = STRONGEST / np.float32(top)
            scales[f, 1] = STRONGEST / np.float32(-bottom)
    counts = np.zeros((num_cells, num_channels * CHANNEL_CODES), np.int32)
    codes = np.empty((num_features, width), np.uint32)  # unsigned: see segmentation.py
    for i in range(height):
        for f in range(num_features):
            c, direction = f // FEATURES, f % FEATURES
            offset = c * CHANNEL_CODES + direction * CODES
            if direction < DIRECTIONS:
                _gradient_along(direction, gradients[c], i, along)
                _write_texture_codes(along, scales[f, 0], scales[f, 1], offset, codes[f])
            else:
                for j in range(width):
                    codes[f, j] = offset + ((np.int32(planes[c, i, j]) * COLOUR_BINS) >> 8)
        for j in range(width):
            # All codes of a pixel go into one row, which is then in the cache.
            row = counts[cells[i, j]]
            for f in range(num_features):
                row[codes[f, j]] += 1
    return counts


@jit
def split_counts(
    counts: Int32[np.ndarray, "r b"], num_channels: int
) -> tuple[Int32[np.ndarray, "r t"], Int32[np.ndarray, "r c"]]:
    """Return the texture and the colour histograms from the counted codes.

    A pixel without a rising gradient counts as rising with strength 0 (the first bin), one without
    a falling gradient as falling with strength 0 (the last bin), so that each histogram of ten bins
    sums to the region's size.
    """
    num_regions = len(counts)
    texture = np.empty((num_regions, num_channels * DIRECTIONS * CODES), np.int32)
    colour = np.empty((num_regions, num_channels * COLOUR_BINS), np.int32)
    for r in range(num_regions):
        for c in range(num_channels):
            source = c * CHANNEL_CODES
            for direction in range(DIRECTIONS):
                target = (c * DIRECTIONS + direction) * CODES
                num_falling = np.int32(0)
                num_rising = np.int32(0)
                for b in range(TEXTURE_BINS):
                    falling = counts[r, source + b]
                    rising = counts[r, source + TEXTURE_BINS + b]
                    texture[r, target + b] = falling
                    texture[r, target + TEXTURE_BINS + b] = rising
                    num_falling += falling
                    num_rising += rising
                texture[r, target + TEXTURE_BINS - 1] += num_rising
                texture[r, target + TEXTURE_BINS] += num_falling
                source += CODES
            for b in range(COLOUR_BINS):
                colour[r, c * COLOUR_BINS + b] = counts[r, source + b]
    return texture, colour
