"""A search that never ends on one image; imported in a moment by the processes that search."""

import time

import numpy as np


def find(path, config, max_pixels):
    """Sleep on the image ``first``, give black pixels without boxes for the others."""
    if path.stem == "first":
        time.sleep(600)
    return np.zeros((50, 60, 3), np.uint8), np.zeros((0, 4), np.float32)
