import pytest
import torch

from detection.kernels import tall_matmul
from tests.kernels.products import rows


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (7, 513, 3), (300, 600, 4), (9, 1024, 21)])
class TestProducts:
    def test_times_equals_the_matrix_product(self, n, d, k, dtype):
        x, weights = rows(n, d, dtype), rows(k, d, seed=1)
        expected = x.double() @ weights.double().T
        assert torch.allclose(tall_matmul.times([x], weights).double(), expected, atol=1e-4)

    def test_transposed_times_equals_the_matrix_product(self, n, d, k, dtype):
        x, factors = rows(n, d, dtype), rows(n, k, seed=1)
        expected = factors.double().T @ x.double()
        assert torch.allclose(
            tall_matmul.transposed_times([x], factors).double(), expected, atol=1e-4
        )


@pytest.mark.usefixtures("engine")
def test_blocks_of_rows_are_one_matrix():
    x, weights, factors = rows(50, 40), rows(5, 40, seed=1), rows(50, 5, seed=2)
    blocks = [x[:20], x[20:20], x[20:]]
    assert torch.allclose(tall_matmul.times(blocks, weights), x @ weights.T, atol=1e-5)
    assert torch.allclose(tall_matmul.transposed_times(blocks, factors), factors.T @ x, atol=1e-5)
