"""The ways of pooling."""

import pytest

from detection.features import pyramid as module


@pytest.fixture(params=["compiled", "torch"])
def way(request, monkeypatch):
    """Both ways of pooling: they must give the same numbers."""
    if request.param == "torch":
        monkeypatch.setattr(module, "NUMBA_AVAILABLE", False)
    elif not module.NUMBA_AVAILABLE:
        pytest.skip("numba is not installed")
    return request.param
