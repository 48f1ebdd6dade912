"""The VOC devkit's classification measure, one image at a time, from VOCevalcls.m."""

from tests.reference.voc_ap import area_ap, eleven_point_ap


def classification_ap(scores, labels, rule):
    """scores, labels: one an image; a label is 1 shown, -1 absent, 0 not counted."""
    shown = sum(label == 1 for label in labels)
    right = wrong = 0
    points = []
    for _, label in sorted(zip(scores, labels, strict=True), key=lambda row: -row[0]):
        right += label == 1
        wrong += label == -1
        if label != 0:
            points.append((right / shown, right / (right + wrong)))
    return eleven_point_ap(points) if rule == "voc07" else area_ap(points)
