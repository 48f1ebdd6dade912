"""Where a cell of a map looks, by the gradient of that cell."""

import copy

import torch
from torch import nn

from detection.backbones.zf5 import WithinChannelNorm

_PASSED = (WithinChannelNorm, nn.LocalResponseNorm, nn.BatchNorm2d, nn.ReLU, nn.ReLU6)


def linearised(trunk):
    """The same layers with positive weights and means for maxima: its gradient shows the field."""
    trunk = copy.deepcopy(trunk).to_empty(device="cpu").double().eval()
    for module in list(trunk.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(
                    child.kernel_size, child.stride, child.padding, ceil_mode=child.ceil_mode
                )
                setattr(module, name, pool)
            elif isinstance(child, _PASSED):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.Conv2d):
                nn.init.constant_(child.weight, 1 / child.weight[0].numel())
                if child.bias is not None:
                    nn.init.zeros_(child.bias)
    return trunk


def narrowed(trunk):
    """The same layers on one channel, as all channels are equal: without concatenations only."""
    trunk = copy.deepcopy(trunk)
    for module in list(trunk.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                sizes = (child.kernel_size, child.stride, child.padding, child.dilation)
                setattr(module, name, nn.Conv2d(1, 1, *sizes, bias=False))
    return trunk


def check_field(trunk, geometry, side, *, narrow=False):
    """The field of a middle cell is symmetric about the pixel ``stride x + offset``; its side."""
    channels, trunk = (1, narrowed(trunk)) if narrow else (3, trunk)
    pixels = torch.zeros(1, channels, 33, side, dtype=torch.float64, requires_grad=True)
    values = linearised(trunk)(pixels)
    column = values.shape[3] // 2
    values[0, :, 0, column].sum().backward()  # of all channels: branches see more or less
    field = pixels.grad.sum(dim=(0, 1, 2))
    centre = geometry.stride * column + geometry.offset
    seen = field.nonzero().flatten()
    assert seen.min() > 0
    assert seen.max() < side - 1
    assert (seen.min() + seen.max()) / 2 == centre
    assert torch.allclose(field[seen], field[seen].flip(0), rtol=1e-6)
    return int(seen.max() - seen.min()) + 1
