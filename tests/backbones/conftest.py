import pytest
import torch
from torchvision import models


@pytest.fixture(scope="module")
def state():
    """A state dict as torchvision's SqueezeNet has it."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return models.squeezenet1_0().state_dict()
