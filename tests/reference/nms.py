"""Greedy non-maximum suppression, one pair at a time."""

import numpy as np


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return float(np.float32(shared) / np.float32(union)) if union > 0 else 0.0


def nms(boxes, scores, threshold):
    """R-CNN §2.2: go from the best down; reject what overlaps a kept box by more."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept
