"""The release's rcnn_im_crop, box by box, with an independent resize."""

from __future__ import annotations

import math

import cv2
import numpy as np


def round_half_away(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def crop(image: np.ndarray, box: list[float], size: int, padding: int, mode: str) -> np.ndarray:
    """Cut a 0-based continuous box out of a (rows, columns, 3) image whose mean is 0."""
    x1, y1, x2, y2 = box[0] + 1, box[1] + 1, box[2], box[3]
    if padding > 0 or mode == "square":
        scale = size / (size - 2 * padding)
        half_height, half_width = (y2 - y1 + 1) / 2, (x2 - x1 + 1) / 2
        centre_x, centre_y = x1 + half_width, y1 + half_height
        if mode == "square":
            half_height = half_width = max(half_height, half_width)
        x1, x2 = centre_x - half_width * scale, centre_x + half_width * scale
        y1, y2 = centre_y - half_height * scale, centre_y + half_height * scale
    x1, y1, x2, y2 = (round_half_away(v) for v in (x1, y1, x2, y2))
    scale_x, scale_y = size / (x2 - x1 + 1), size / (y2 - y1 + 1)
    left = round_half_away(max(0, 1 - x1) * scale_x)
    top = round_half_away(max(0, 1 - y1) * scale_y)
    x1, y1 = max(1, x1), max(1, y1)
    x2, y2 = min(image.shape[1], x2), min(image.shape[0], y2)
    width = min(round_half_away((x2 - x1 + 1) * scale_x), size - left)
    height = min(round_half_away((y2 - y1 + 1) * scale_y), size - top)
    visible = np.ascontiguousarray(image[y1 - 1 : y2, x1 - 1 : x2])
    window = np.zeros((size, size, 3), dtype=np.float32)
    resized = cv2.resize(visible, (width, height), interpolation=cv2.INTER_LINEAR)
    window[top : top + height, left : left + width] = resized
    return window
