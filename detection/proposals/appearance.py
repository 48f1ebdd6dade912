"""Colour and texture histograms (Uijlings et al. 2013, §3.2).

Every pixel falls into one of 25 colour bins a channel, and for each of four directions into one of
twenty texture codes: ten for the strength of a falling gradient, ten for a rising one. Counts of
codes add up from cells to regions; `split_counts` turns them into the eight histograms of ten bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int16, Int32, UInt8

from detection.proposals.jit import jit

COLOUR_BINS = 25
TEXTURE_BINS = 10
DIRECTIONS = 4  # each with its opposite
CODES = 2 * TEXTURE_BINS
CHANNEL_CODES = DIRECTIONS * CODES + COLOUR_BINS
FEATURES = DIRECTIONS + 1  # codes of a pixel and channel
STRONGEST = np.float32(254)  # what OpenCV scales the strongest gradient of an image to


@jit
def _weights(direction: int) -> tuple[int, int]:
    """Give the factors of the x and y gradients in a direction: 0, 90, 45, -45 degrees."""
    return (0 if direction == 1 else 1), (0 if direction == 0 else (-1 if direction == 3 else 1))


@jit
def _scales(gradients: Int16[np.ndarray, "2 h w"], direction: int) -> tuple[np.float32, np.float32]:
    """Give the factors that make an image's strongest rise and fall in a direction 254."""
    weight_x, weight_y = _weights(direction)
    top = 1
    bottom = -1
    for i in range(gradients.shape[1]):
        row_x = gradients[0, i]
        row_y = gradients[1, i]
        for j in range(row_x.size):
            gradient = weight_x * row_x[j] + weight_y * row_y[j]
            top = gradient if gradient > top else top
            bottom = gradient if gradient < bottom else bottom
    return STRONGEST / np.float32(top), STRONGEST / np.float32(-bottom)


@jit
def _write_texture_codes(
    gradients: Int16[np.ndarray, "2 h w"],
    i: int,
    direction: int,
    scales: Any,
    codes: Int32[np.ndarray, " w"],
) -> None:
    """Write the texture codes of one row of pixels in one direction."""
    weight_x, weight_y = _weights(direction)
    rising, falling = scales
    row_x = gradients[0, i]
    row_y = gradients[1, i]
    half = np.float32(0.5)
    for j in range(codes.size):
        gradient = np.int32(weight_x * row_x[j] + weight_y * row_y[j])
        rise = np.int32(np.float32(gradient) * rising + half)
        fall = np.int32(STRONGEST + np.float32(gradient) * falling + half)
        level = rise if gradient >= 0 else fall
        first = TEXTURE_BINS if gradient >= 0 else 0
        codes[j] += first + ((level * TEXTURE_BINS) >> 8)


@jit
def count_codes(
    planes: UInt8[np.ndarray, "c h w"],
    gradients: Int16[np.ndarray, "c 2 h w"],
    cells: Int32[np.ndarray, "h w"],
    num_cells: int,
) -> Int32[np.ndarray, "m b"]:
    """Count the codes of each cell's pixels, channel after channel: four directions, then colour.

    Gradient strengths are scaled to 0..254 by the strongest of the image and cut into ten bins, as
    OpenCV does. The diagonal gradients are steered from the two others.
    """
    num_channels, height, width = planes.shape
    num_features = num_channels * FEATURES
    scales = [_scales(gradients[f // FEATURES], f % FEATURES) for f in range(num_features)]
    counts = np.zeros((num_cells, num_channels * CHANNEL_CODES), np.int32)
    codes = np.empty((num_features, width), np.int32)
    for i in range(height):
        for f in range(num_features):
            c, direction = f // FEATURES, f % FEATURES
            codes[f, :] = c * CHANNEL_CODES + direction * CODES
            if direction < DIRECTIONS:
                _write_texture_codes(gradients[c], i, direction, scales[f], codes[f])
            else:
                values = planes[c, i]
                for j in range(width):
                    codes[f, j] += (np.int32(values[j]) * COLOUR_BINS) >> 8
        for j in range(width):
            row = counts[cells[i, j]]
            for f in range(num_features):
                row[codes[f, j]] += 1
    return counts


@jit
def split_counts(
    counts: Int32[np.ndarray, "r b"], num_channels: int
) -> tuple[Int32[np.ndarray, "r t"], Int32[np.ndarray, "r c"]]:
    """Give the texture and the colour histograms from the counted codes.

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
