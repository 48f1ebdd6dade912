import pytest
import torch

from detection.training.sampling import delta_statistics
from tests.training.pools import pools


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
