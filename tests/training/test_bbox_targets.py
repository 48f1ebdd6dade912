import pytest
import torch

from detection.config import FineTuneConfig
from detection.structures import GroundTruth
from detection.training.rois import label_rois
from detection.training.sampling import delta_statistics, pool_of

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


@pytest.mark.parametrize("mirror", [True, False])
def test_normalised_targets_have_zero_mean_and_unit_variance(mirror):
    made = pools()
    mean, deviation = delta_statistics(made, flip=mirror)
    deltas = []
    for pool in made:
        boxes, objects = pool.boxes[pool.positives], pool.gt_boxes[pool.positives]
        widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        for sign in (1, -1) if mirror else (1,):
            centre = (objects[:, 0] + objects[:, 2] - boxes[:, 0] - boxes[:, 2]) / 2
            dy = (objects[:, 1] + objects[:, 3] - boxes[:, 1] - boxes[:, 3]) / 2
            dw = ((objects[:, 2] - objects[:, 0]) / widths).log()
            dh = ((objects[:, 3] - objects[:, 1]) / heights).log()
            deltas.append(torch.stack((sign * centre / widths, dy / heights, dw, dh), dim=1))
    normalised = (torch.cat(deltas) - mean) / deviation
    torch.testing.assert_close(normalised.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.square().mean(dim=0), torch.ones(4), atol=1e-4, rtol=1e-4)
