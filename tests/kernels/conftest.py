"""Products with numba and with torch."""

import pytest

from detection.kernels import tall_matmul


@pytest.fixture(params=[True, False], ids=["numba", "torch"])
def engine(request, monkeypatch):
    if request.param and not tall_matmul.NUMBA_AVAILABLE:
        pytest.skip("numba is not installed")
    monkeypatch.setattr(tall_matmul, "NUMBA_AVAILABLE", request.param)
