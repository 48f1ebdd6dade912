"""Small ground truths and detections for the tests of this folder."""

import numpy as np
import torch

from detection.structures import Detections, GroundTruth


def truth(image_id, boxes, labels, difficult=None, size=(100, 100)):
    return GroundTruth(
        image_id=image_id,
        size=size,
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        difficult=torch.tensor(difficult or [False] * len(labels), dtype=torch.bool),
    )


def detections_of(image_id, boxes, scores, labels):
    return Detections(
        image_id=image_id,
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores, dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.int64),
    )


def as_detections(truth):
    """The objects themselves, best possible detections."""
    return Detections(
        image_id=truth.image_id,
        boxes=truth.boxes,
        scores=torch.ones(len(truth.labels)),
        labels=truth.labels,
    )


def random_boxes(rng, count, size=100, smallest=10):
    corner = rng.integers(0, size - smallest, (count, 2))
    extent = rng.integers(smallest, size // 2, (count, 2))
    return np.concatenate([corner, np.minimum(corner + extent, size)], axis=1).astype(np.float32)


def random_case(
    seed, num_images=6, num_classes=3, max_objects=5, max_found=15, difficult=0.2, distinct=False
):
    """Objects, and detections that are partly jittered objects, with many equal scores."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for index in range(num_images):
        boxes = random_boxes(rng, int(rng.integers(0, max_objects + 1)))
        labels = rng.integers(0, num_classes, len(boxes))
        hard = rng.random(len(boxes)) < difficult
        truths.append(truth(f"{index:06d}", boxes, labels, list(hard)))
        count = int(rng.integers(0, max_found + 1))
        guesses, guess_labels = random_boxes(rng, count), rng.integers(0, num_classes, count)
        for row in range(count):
            if len(boxes) and rng.random() < 0.7:
                source = int(rng.integers(len(boxes)))
                guesses[row] = boxes[source] + rng.integers(-4, 5, 4)
                guess_labels[row] = labels[source]
        scores = rng.permutation(1000)[:count] / 1000 if distinct else rng.integers(0, 8, count) / 8
        detections.append(detections_of(f"{index:06d}", guesses, scores, guess_labels))
    return truths, detections
