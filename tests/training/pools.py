"""Images to draw RoIs from."""

import torch

from detection.config import FineTuneConfig
from detection.structures import GroundTruth
from detection.training.rois import label_rois
from detection.training.sampling import pool_of

K = 3
CONFIG = FineTuneConfig(batch_size=32, negative_iou=(0.1, 0.5), random_scale=False)


def truth(boxes, labels):
    return GroundTruth(
        image_id="a",
        size=(100, 200),
        boxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        difficult=torch.zeros(len(labels), dtype=torch.bool),
    )


def pools(config=CONFIG, count=4):
    made = []
    for index in range(count):
        random = torch.Generator().manual_seed(index)
        boxes = torch.rand(60, 4, generator=random) * 50
        boxes[:, 2:] += boxes[:, :2] + 10
        objects = truth([[10, 10, 60, 60], [70, 20, 120, 80]], [index % K, (index + 1) % K])
        near = objects.boxes.repeat(8, 1) + torch.randint(-8, 9, (16, 4), generator=random)
        rois = label_rois(torch.cat((boxes, near)), objects, K)
        made.append(pool_of(rois, f"image{index}", 200, K, config))
    return made
