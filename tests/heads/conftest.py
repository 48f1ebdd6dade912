import pytest
import torch

K = 3


@pytest.fixture(scope="module")
def problem():
    """200 examples of 3 classes, non-negative as after a ReLU, mean norm 20; some are ignored."""
    random = torch.Generator().manual_seed(0)
    prototypes = torch.rand(K + 1, 40, generator=random)
    owners = torch.randint(0, K + 1, (200,), generator=random)
    x = (prototypes[owners] + 0.5 * torch.randn(200, 40, generator=random)).relu()
    x *= 20 / x.norm(dim=1).mean()
    targets = (owners[:, None] == torch.arange(K)).to(torch.int8) * 2 - 1
    targets[torch.rand(200, K, generator=random) < 0.1] = 0
    return x, targets
