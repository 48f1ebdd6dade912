"""Hoiem's two analyses, one detection at a time and in exact arithmetic, from the paper.

An image's objects are rows (box, label, difficult), its detections rows (score, box, label); boxes
have whole corners.
"""

from fractions import Fraction
from math import floor


def exact_iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return Fraction(width * height, areas - width * height)


def claims(objects, detections, label):
    """Return (outcome, image, box, object) of a class's detections, best first."""
    rows = [
        (-score, image, place, box)
        for image, found in enumerate(detections)
        for place, (score, box, of) in enumerate(found)
        if of == label
    ]
    taken, judged = set(), []
    for _, image, _, box in sorted(rows):
        same = [n for n, row in enumerate(objects[image]) if row[1] == label]
        best = max(same, key=lambda n: exact_iou(box, objects[image][n][0]), default=None)
        if best is None or exact_iou(box, objects[image][best][0]) < Fraction(1, 2):
            outcome = "wrong"
        elif objects[image][best][2]:
            outcome = "ignored"
        else:
            outcome = "wrong" if (image, best) in taken else "right"
            taken.add((image, best))
        judged.append((outcome, image, box, best))
    return judged


def kinds(objects, detections, label, similar):
    """Return the kind of each counted detection of a class, best first."""
    result = []
    for outcome, image, box, _ in claims(objects, detections, label):
        on = {row[1] for row in objects[image] if exact_iou(box, row[0]) >= Fraction(1, 10)}
        if outcome == "ignored":
            continue
        if outcome == "right":
            result.append("right")
        elif label in on:
            result.append("Loc")
        elif on & similar[label]:
            result.append("Sim")
        else:
            result.append("Oth" if on else "BG")
    return result


def normalised(outcomes, num_objects, pseudo):
    """The mean over all objects of the interpolated normalised precision; 0 for a missed one."""
    points, right, wrong = [], 0, 0
    for outcome in outcomes:
        right, wrong = right + (outcome == "right"), wrong + (outcome == "wrong")
        weight = Fraction(right, num_objects) * pseudo
        points.append((outcome, weight / (weight + wrong) if right else Fraction(0)))
    best = [max(p for _, p in points[n:]) for n in range(len(points))]
    found = [p for p, (outcome, _) in zip(best, points, strict=True) if outcome == "right"]
    return sum(found, Fraction(0)) / num_objects


def fifth(value, values):
    """Which of the five subsets a value is in; the bounds are values of ranks n/10, 3n/10 ..."""
    rising = sorted(values)
    ranks = [floor(Fraction(tenth * len(values), 10) + Fraction(1, 2)) for tenth in (1, 3, 7, 9)]
    return sum(rank == 0 or value > rising[rank - 1] for rank in ranks)


def subset_ap(objects, detections, label, subset_of, subset, pseudo):
    """subset_of: (image, place) -> its subset; None where the object is in none."""
    members = {key for key, value in subset_of.items() if value == subset}
    if not members:
        return None
    outcomes = [
        "ignored" if outcome == "right" and (image, best) not in members else outcome
        for outcome, image, _, best in claims(objects, detections, label)
    ]
    return normalised([one for one in outcomes if one != "ignored"], len(members), pseudo)
