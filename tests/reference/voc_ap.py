"""The VOC devkit's rules, one detection at a time, from its description."""

import math


def overlap_with_plus_one(a, b):
    """IoU of two boxes of 1-based inclusive corners xmin ymin xmax ymax, as VOC stores them."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b))
    return width * height / (areas - width * height)


def recall_and_precision(objects, actual, min_overlap):
    """objects: {image: [(box, difficult)]}; found: [(score, image, box)] in file order."""
    to_find = sum(not difficult for boxes in objects.values() for _, difficult in boxes)
    taken, outcomes = set(), []
    for _, image, box in sorted(actual, key=lambda row: -row[0]):
        best, best_index = -math.inf, None
        for index, (other, _) in enumerate(objects.get(image, [])):
            overlap = overlap_with_plus_one(box, other)
            if overlap > best:
                best, best_index = overlap, index
        if best < min_overlap:
            outcomes.append("wrong")
        elif objects[image][best_index][1]:
            outcomes.append("ignored")
        elif (image, best_index) in taken:
            outcomes.append("wrong")
        else:
            taken.add((image, best_index))
            outcomes.append("right")
    rows = [
        (outcomes[: n + 1].count("right"), outcomes[: n + 1].count("wrong"))
        for n in range(len(outcomes))
    ]
    return [(r / to_find, r / (r + w)) for r, w in rows if r + w] if to_find else None


def eleven_point_ap(points):
    total = 0.0
    for tenth in range(11):
        total += max((p for r, p in points if r >= tenth * 0.1), default=0.0) / 11
    return total


def area_ap(points):
    recalls = [0.0, *(r for r, _ in points), 1.0]
    precisions = [0.0, *(p for _, p in points), 0.0]
    for index in reversed(range(len(precisions) - 1)):
        precisions[index] = max(precisions[index], precisions[index + 1])
    return sum((recalls[n] - recalls[n - 1]) * precisions[n] for n in range(1, len(recalls)))
