"""Greedy non-maximum suppression, one pair at a time, in exact arithmetic."""

from fractions import Fraction


def iou(a, b):
    """Intersection over union; the corners must be integers or exact floats."""
    a, b = [Fraction(v) for v in a], [Fraction(v) for v in b]
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else Fraction(0)


def nms(boxes, scores, threshold):
    """R-CNN §2.2: go from the best down; reject what overlaps a kept box by more."""
    threshold = Fraction(str(threshold))
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def released_nms(boxes, scores, threshold):
    """Follow the rule of the releases on 1-based inclusive corners, as integers.

    Boxes lie in ascending order of their scores, equal ones as they came. The last one is picked
    and everything that overlaps it by more than the threshold, itself included, is erased.
    """
    threshold = Fraction(str(threshold))
    ordered = sorted(range(len(boxes)), key=lambda i: scores[i])

    def area(a):
        return (a[2] - a[0] + 1) * (a[3] - a[1] + 1)

    picked = []
    while ordered:
        best = ordered[-1]
        picked.append(best)
        left = []
        for other in ordered:
            a, b = boxes[best], boxes[other]
            width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
            height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
            shared = width * height
            if Fraction(shared, area(a) + area(b) - shared) <= threshold:
                left.append(other)
        ordered = left
    return picked
