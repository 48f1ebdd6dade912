"""The images of a mini-batch on several threads, each image on one.

Two threads that share a convolution wait for each other at every layer, and much of a layer is not
shared at all. Two threads with an image each do not wait: a step of EfficientNet-Lite0 takes two
thirds of the time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from detection.io.device import is_host

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_images(
    function: Callable[[_Item], _Result], items: Sequence[_Item], device: torch.device
) -> list[_Result]:
    """Return the function of each item, on as many threads as torch has, one for each item.

    Args:
        function: must not depend on other items; gradients are recorded if the caller records them.
        items: of a mini-batch.
        device: where the function works; elsewhere than on a CPU it is called here, in turn.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads <= 1 or not is_host(device):
        return [function(item) for item in items]
    recorded = torch.is_grad_enabled()

    def call(item: _Item) -> _Result:
        with torch.set_grad_enabled(recorded):  # each thread has a mode of its own
            return function(item)

    return list(_pool(torch.get_num_threads()).map(call, items))


def map_with_gradients(
    function: Callable[[_Item], Float[Tensor, "n _"]],
    items: Sequence[_Item],
    parameters: Sequence[Tensor],
    device: torch.device,
) -> list[Float[Tensor, "n _"]]:
    """Return the function of each item as `map_images` does, its backward on the threads as well.

    Law: values and gradients are those of calling the function in turn on one thread, bit for bit
    where it reads each parameter once.

    Args:
        function: of an item and of the parameters alone.
        items: of a mini-batch.
        parameters: leaves that want gradients.
        device: of all of them.
    """
    shared = torch.get_num_threads() > 1 and len(items) > 1 and is_host(device)
    if not shared or not parameters or not torch.is_grad_enabled():
        return map_images(function, items, device)
    return list(_Mapped.apply(function, items, device, *parameters))


class _Mapped(torch.autograd.Function):
    """All items as one operation on the parameters; each keeps a graph of its own."""

    @staticmethod
    def forward(
        ctx: Any,
        function: Callable[[_Item], Tensor],
        items: Sequence[_Item],
        device: torch.device,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        """Call the function of every item."""
        with torch.enable_grad():
            ctx.results = map_images(function, items, device)
        ctx.device, ctx.parameters = device, parameters
        return tuple(result.detach() for result in ctx.results)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the parameters, summed over the items."""

        def of_item(index: int) -> tuple[Tensor | None, ...]:
            result = ctx.results[index]
            if not result.requires_grad:
                return (None,) * len(ctx.parameters)
            wanted: tuple[Tensor | None, ...] = torch.autograd.grad(
                result, ctx.parameters, gradients[index], allow_unused=True
            )
            return wanted

        each = map_images(of_item, range(len(ctx.results)), ctx.device)
        ctx.results = None
        # From the last to the first, as autograd adds them up.
        return (None, None, None, *map(_sum, zip(*reversed(each), strict=True)))


def _sum(terms: Sequence[Tensor | None]) -> Tensor | None:
    total = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return threads that use one core each; they wait for work until the process ends."""
    started = threading.Barrier(threads + 1)

    def begin() -> None:
        torch.get_num_threads()  # at first use a thread takes the number of the others
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(threads, "images", begin)
    for _ in range(threads):
        pool.submit(int)
    started.wait()
    torch.set_num_threads(threads)  # what torch gives to threads that are still to come
    return pool


# A forked process has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
