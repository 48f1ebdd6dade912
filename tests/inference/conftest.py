import pytest
import torch


@pytest.fixture
def one_thread(monkeypatch):
    """As the workers have: sums depend on the number of threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
