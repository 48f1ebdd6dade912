"""Where the cells of a trunk's map lie on its input, read off the layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detection.errors import ConfigError
from detection.structures import ConvGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One layer: side of its input and output, its stride, the shift of the first centre.

    Its reach is how many cells of its input one cell sees beyond the first.
    """

    side: int
    next_side: int
    stride: int
    shift: float
    reach: int = 0


_SLIDING = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_PROBE_SIDE = 64
"""Of the image that is followed where only the number of channels matters."""


def trunk_geometry(trunk: nn.Module, *, size: int = 224) -> ConvGeometry:
    """Derive stride and offset by following the conv and pool layers through one forward pass.

    A layer with kernel k (what it spans, if dilated), stride s and padding p moves the centre of
    the first cell by ``(k - 1) / 2 - p`` cells of its input and multiplies the stride by s. A
    padding layer moves it by what it adds before the first cell, whatever it adds behind the last.
    Of parallel branches that shrink the map the first one run counts: all branches that are added
    together share a centre.

    Args:
        trunk: any network that is a sequence of conv and pool layers, with or without branches, or
            the first stages of one (``trunk[:3]``); its parameters may be on ``meta``.
        size: side of the input to follow; the result is the same for any that the trunk accepts.

    Raises:
        ConfigError: for a layer with padding that depends on the input's size, and for strides that
            differ between the axes.
    """
    steps, last_side = _recorded(trunk, size)
    stride, offset = 1, 0.0
    for step in _followed(steps, size, last_side):
        offset += step.shift * stride
        stride *= step.stride
    return ConvGeometry(stride=stride, offset=offset)


def field_side(trunk: nn.Module, *, size: int = 224) -> int:
    """Return the side of the square of input pixels that one cell of a trunk's map sees.

    Parallel branches count as if one came after the other: exact where all but one have kernels of
    1, otherwise a bound.

    Args:
        trunk: as for `trunk_geometry`.
        size: side of the input to follow.

    Raises:
        ConfigError: as `trunk_geometry` does.
    """
    steps, last_side = _recorded(trunk, size)
    stride, side = 1, 1
    for step in _followed(steps, size, last_side):
        side += step.reach * stride
        stride *= step.stride
    return side


def _recorded(trunk: nn.Module, size: int) -> tuple[list[_Step], int]:
    """Return what each layer does to an image of this side, and the side of the map."""
    steps: list[_Step] = []
    hooks = [
        module.register_forward_hook(lambda m, x, y: steps.append(_step(m, x[0], y)))
        for module in trunk.modules()
        if isinstance(module, (*_SLIDING, nn.ZeroPad2d))
    ]
    try:
        with evaluating(trunk):
            last_side = trunk(_probe(trunk, size)).shape[-1]
    finally:
        for hook in hooks:
            hook.remove()
    return steps, int(last_side)


def stage_geometries(trunk: nn.Sequential, names: Sequence[str]) -> dict[str, ConvGeometry]:
    """Derive stride and offset of the map that each of these stages of a trunk returns.

    Raises:
        ConfigError: for a name that no stage of the trunk has.
    """
    order = _stage_order(trunk, names)
    return {name: trunk_geometry(trunk[: order[name] + 1]) for name in names}


def stage_channels(trunk: nn.Sequential, names: Sequence[str]) -> dict[str, int]:
    """Return the number of channels of the map that each of these stages of a trunk returns.

    Raises:
        ConfigError: for a name that no stage of the trunk has.
    """
    _stage_order(trunk, names)
    channels: dict[str, int] = {}
    with evaluating(trunk):
        values = _probe(trunk, _PROBE_SIDE)
        for name, stage in trunk.named_children():
            values = stage(values)
            channels[name] = values.shape[1]
    return {name: channels[name] for name in names}


def _stage_order(trunk: nn.Sequential, names: Sequence[str]) -> dict[str, int]:
    """Return the position of every stage, if all the names are among them."""
    order = {name: index for index, (name, _) in enumerate(trunk.named_children())}
    foreign = [name for name in names if name not in order]
    if foreign:
        message = f"backbone stages: expected some of {', '.join(order)}, got {', '.join(foreign)}"
        raise ConfigError(message)
    return order


@contextmanager
def evaluating(trunk: nn.Module) -> Iterator[None]:
    """Run a network without gradients in evaluation mode, then leave each module in its own mode.

    Module by module, as the first stages of a network share it with the modules around them.
    """
    modes = [(module, module.training) for module in trunk.modules()]
    try:
        trunk.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _probe(trunk: nn.Module, size: int) -> Tensor:
    """Return an empty square image where the trunk's parameters are."""
    return torch.zeros(1, 3, size, size, device=next(trunk.parameters()).device)


def _followed(steps: list[_Step], size: int, last_side: int) -> Iterator[_Step]:
    """Yield the layers whose input is as large as what the layers before them left.

    Some networks have layers behind the map that they return: what is smaller than it is left out.
    """
    current = size
    for step in steps:
        if step.side == current and step.next_side >= last_side:
            yield step
            current = step.next_side


def _step(module: nn.Module, inputs: Tensor, outputs: Tensor) -> _Step:
    """Read one layer's arithmetic and check that its output has the size that follows from it."""
    if isinstance(module, nn.ZeroPad2d):
        return _padding_step(module, inputs, outputs)
    kernel, stride, padding = (
        _square(module, name) for name in ("kernel_size", "stride", "padding")
    )
    if hasattr(module, "dilation"):
        kernel = (kernel - 1) * _square(module, "dilation") + 1
    side, next_side = int(inputs.shape[-1]), int(outputs.shape[-1])
    span = side + 2 * padding - kernel
    steps = -(-span // stride) if getattr(module, "ceil_mode", False) else span // stride
    if next_side != steps + 1:
        message = (
            f"backbone: expected layers with a fixed padding, got {module} from {side} to "
            f"{next_side} cells; choose a network without 'same' padding"
        )
        raise ConfigError(message)
    return _Step(
        side=side,
        next_side=next_side,
        stride=stride,
        shift=(kernel - 1) / 2 - padding,
        reach=kernel - 1,
    )


def _padding_step(module: nn.ZeroPad2d, inputs: Tensor, outputs: Tensor) -> _Step:
    """Read how far a padding layer moves the first cell, which must be the same on both axes."""
    left, right, top, bottom = module.padding
    if (left, right) != (top, bottom):
        message = f"backbone: expected the same padding on both axes, got {module}"
        raise ConfigError(message)
    side, next_side = int(inputs.shape[-1]), int(outputs.shape[-1])
    return _Step(side=side, next_side=next_side, stride=1, shift=-left)


def _square(module: nn.Module, name: str) -> int:
    """Return a layer's setting, which must be the same along both axes."""
    value = getattr(module, name)
    sides = set(value) if isinstance(value, tuple) else {value}
    if len(sides) != 1 or not isinstance(value, int | tuple):
        message = f"backbone: expected the same {name} on both axes, got {value} in {module}"
        raise ConfigError(message)
    return int(sides.pop())
