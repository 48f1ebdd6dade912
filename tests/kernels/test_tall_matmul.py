import pytest
import torch

from detection.kernels import tall_matmul
from tests.kernels.products import rows


@pytest.mark.usefixtures("engine")
def test_rows_without_any_factor_add_nothing():
    x, factors = rows(64, 600), rows(64, 3, seed=1)
    factors[8:48] = 0
    factors[:, 1] = 0
    assert torch.allclose(tall_matmul.transposed_times([x], factors), factors.T @ x, atol=1e-4)
