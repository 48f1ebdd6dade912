"""The images of a mini-batch on several threads, each image on one.

Two threads that share a convolution wait for each other at every layer, and much of a layer is not
shared at all. Two threads with an image each do not wait: the conv part of a step of
EfficientNet-Lite0 takes three quarters of the time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
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
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    device: torch.device,
    costs: Sequence[float] = (),
) -> list[_Result]:
    """Return the function of each item, on as many threads as torch has, one for each item.

    Args:
        function: must not depend on other items; gradients are recorded if the caller records them.
        items: of a mini-batch.
        device: where the function works; elsewhere than on a CPU it is called here, in turn.
        costs: of each item, relative: the dearest begins first, so that no thread is left with a
            large image while the others have nothing to do. Without, as they stand.
    """
    return list(_each(function, items, device, costs))


def _each(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    device: torch.device,
    costs: Sequence[float],
) -> Iterator[_Result]:
    """Yield what `map_images` returns, in order; what was yielded is not held here."""
    threads = min(torch.get_num_threads(), len(items))
    if threads <= 1 or not is_host(device):
        yield from map(function, items)
        return
    recorded = torch.is_grad_enabled()

    def call(item: _Item) -> _Result:
        with torch.set_grad_enabled(recorded):  # each thread has a mode of its own
            return function(item)

    pool, order = _pool(torch.get_num_threads()), range(len(items))
    dearest = sorted(order, key=lambda index: -costs[index]) if costs else order
    under_way = {index: pool.submit(call, items[index]) for index in dearest}
    try:
        for index in order:
            yield under_way.pop(index).result()
    finally:  # after an error nothing new begins
        for future in under_way.values():
            future.cancel()


def map_with_gradients(
    function: Callable[[_Item], Float[Tensor, "n _"]],
    items: Sequence[_Item],
    parameters: Sequence[Tensor],
    device: torch.device,
    costs: Sequence[float] = (),
) -> list[Float[Tensor, "n _"]]:
    """Return the function of each item as `map_images` does, its backward on the threads as well.

    Law: values and gradients are those of calling the function in turn on one thread, bit for bit
    where it reads each parameter once.

    Args:
        function: of an item and of the parameters alone.
        items: of a mini-batch.
        parameters: leaves that want gradients.
        device: of all of them.
        costs: see `map_images`.
    """
    shared = torch.get_num_threads() > 1 and len(items) > 1 and is_host(device)
    if not shared or not parameters or not torch.is_grad_enabled():
        return map_images(function, items, device, costs)
    return list(_Mapped.apply(function, items, device, costs, *parameters))


class _Mapped(torch.autograd.Function):
    """All items as one operation on the parameters; each keeps a graph of its own."""

    @staticmethod
    def forward(
        ctx: Any,
        function: Callable[[_Item], Tensor],
        items: Sequence[_Item],
        device: torch.device,
        costs: Sequence[float],
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        """Call the function of every item."""
        with torch.enable_grad():
            ctx.results = map_images(function, items, device, costs)
        ctx.device, ctx.costs, ctx.parameters = device, costs, parameters
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

        # From the last to the first, as autograd adds them up, and each as soon as it is there: a
        # mini-batch of R-CNN has a hundred images, and every gradient is as large as the network.
        total: list[Tensor | None] = [None] * len(ctx.parameters)
        backwards = range(len(ctx.results) - 1, -1, -1)
        for own in _each(of_item, backwards, ctx.device, ctx.costs[::-1]):
            total = [_sum(pair) for pair in zip(total, own, strict=True)]
        ctx.results = None
        return (None, None, None, None, *total)


def _sum(pair: tuple[Tensor | None, Tensor | None]) -> Tensor | None:
    known = [term for term in pair if term is not None]
    return known[0] + known[1] if len(known) == 2 else next(iter(known), None)


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
