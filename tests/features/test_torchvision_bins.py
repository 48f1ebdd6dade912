import pytest
import torch

from detection.features import pyramid as module
from detection.features.pyramid import pyramid_pool
from detection.features.torchvision_bins import is_exact
from tests.reference.pyramid import pyramid


def random_map(channels, rows, columns, dtype=torch.float32, seed=0, negative=False):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(channels, rows, columns, generator=generator)
    return (values if negative else values.relu()).to(dtype)


@pytest.fixture(params=["compiled", "torch"])
def way(request, monkeypatch):
    """Both ways of pooling: they must give the same numbers."""
    if request.param == "torch":
        monkeypatch.setattr(module, "NUMBA_AVAILABLE", False)
    elif not module.NUMBA_AVAILABLE:
        pytest.skip("numba is not installed")
    return request.param


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
