import pytest
import torch

from detection.kernels import tall_matmul


def rows(n, d, dtype=torch.float32, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture(params=[True, False], ids=["numba", "torch"])
def engine(request, monkeypatch):
    if request.param and not tall_matmul.NUMBA_AVAILABLE:
        pytest.skip("numba is not installed")
    monkeypatch.setattr(tall_matmul, "NUMBA_AVAILABLE", request.param)


@pytest.mark.usefixtures("engine")
def test_rows_without_any_factor_add_nothing():
    x, factors = rows(64, 600), rows(64, 3, seed=1)
    factors[8:48] = 0
    factors[:, 1] = 0
    assert torch.allclose(tall_matmul.transposed_times([x], factors), factors.T @ x, atol=1e-4)
