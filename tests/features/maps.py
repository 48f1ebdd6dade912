"""Feature maps to pool."""

import torch


def random_map(channels, rows, columns, dtype=torch.float32, seed=0, negative=False):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(channels, rows, columns, generator=generator)
    return (values if negative else values.relu()).to(dtype)
