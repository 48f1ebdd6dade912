import pytest
import torch

from detection.features.pyramid import pyramid_pool
from detection.features.torchvision_bins import is_exact
from tests.features.maps import random_map
from tests.reference.pyramid import pyramid


@pytest.mark.usefixtures("way")
def test_seven_bins_of_57_cells_are_exact():
    """There a bin computed in float32 is one cell too wide."""
    assert is_exact(7, 56)
    assert not is_exact(7, 57)
    values = random_map(2, 9, 60, negative=True)
    windows = torch.tensor([[0, 0, 57, 9], [3, 2, 60, 3]])
    assert torch.equal(pyramid_pool(values, windows, (7,)), pyramid(values, windows.tolist(), (7,)))
    tall, turned = values.transpose(1, 2), windows[:, [1, 0, 3, 2]]
    assert torch.equal(pyramid_pool(tall, turned, (7,)), pyramid(tall, turned.tolist(), (7,)))
