"""A device that behaves at its boundaries as a GPU does, and computes on the CPU.

Every tensor on it refuses to meet a CPU tensor of one dimension or more and refuses ``.numpy()``,
as CUDA's do; otherwise it computes for real, so that values can be compared with the CPU's. It is
registered under torch's own key for devices that live outside torch: factories, ``.to``, modules,
autograd, optimisers and torchvision's operators work on it without a word in the package.

The registration holds for a whole process and cannot be undone: run it in a process of its own
(``python -m tests.devices``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import library
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "fakegpu"

_aten = torch.ops.aten
_CROSSING = {_aten.copy_.default, _aten._to_copy.default, _aten._local_scalar_dense.default}
"""What may see tensors of both devices: copies, and reading one number."""
_INDEXING = {
    _aten.index.Tensor,
    _aten.index_put.default,
    _aten.index_put_.default,
    _aten._index_put_impl_.default,
    _aten._unsafe_index.Tensor,
}
"""CUDA accepts indices on the CPU for a tensor of its own (not the other way round)."""
_FACTORIES = (
    _aten.empty.memory_format,
    _aten.empty_strided.default,
    _aten.arange.default,
    _aten.arange.start,
    _aten.arange.start_step,
    _aten.eye.default,
    _aten.eye.m,
    _aten.linspace.default,
    _aten.randperm.default,
    _aten.randperm.generator,
)
"""What makes tensors; by default all but the first two resize an empty one."""


class FakeTensor(torch.Tensor):
    """A tensor on the device; ``inner`` holds its values, on the CPU."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> FakeTensor:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
            requires_grad=inner.requires_grad,
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self) -> Any:
        return self.inner.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        message = f"can't convert {NAME}:0 device type tensor to numpy. Use Tensor.cpu() first"
        raise TypeError(message)

    def __repr__(self) -> str:
        return f"FakeTensor({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _BackendModule(_DummyBackendModule):
    """What torch asks of a device's module; random numbers come from the CPU's generator."""

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def synchronize(device: Any = None) -> None:
        """Do nothing: whatever was ordered is done."""

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """Do nothing: the CPU's generator is seeded anyway."""

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """Run an operator on the values, and wrap what comes out."""
    flat, spec = tree_flatten((args, kwargs))
    ours = [t for t in flat if isinstance(t, FakeTensor)]
    _refuse_mixed(func, args, flat, ours)
    inner_args, inner_kwargs = tree_unflatten(
        [t.inner if isinstance(t, FakeTensor) else t for t in flat], spec
    )
    target = inner_kwargs.get("device")
    if target is not None:
        inner_kwargs = inner_kwargs | {"device": torch.device("cpu")}
    inner_kwargs.pop("pin_memory", None)
    out = func(*inner_args, **inner_kwargs)
    if any(t.inner.shape != t.shape for t in ours):
        message = (
            f"{func}: it resized a tensor in place, which a wrapper cannot follow; register it"
        )
        raise NotImplementedError(message)
    if func is _aten._local_scalar_dense.default:
        return out
    if func is _aten.copy_.default:
        return args[0]
    stays = bool(ours) if target is None else torch.device(target).type == NAME
    if not stays:
        return out
    wrapped = tree_map(lambda t: FakeTensor(t) if isinstance(t, torch.Tensor) else t, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if ours else wrapped


def _refuse_mixed(func: Any, args: Any, flat: list[Any], ours: list[FakeTensor]) -> None:
    """Raise what CUDA raises where tensors of two devices meet."""
    elsewhere = [
        t
        for t in flat
        if isinstance(t, torch.Tensor) and not isinstance(t, FakeTensor) and t.dim() > 0
    ]
    if func in _CROSSING or not ours or not elsewhere:
        return
    if func in _INDEXING and isinstance(args[0], FakeTensor):
        indices = [t for t in args[1] if t is not None]
        if all(any(t is i for i in indices) for t in elsewhere):
            return
    message = (
        f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 "
        f"and cpu! (in {func})"
    )
    raise RuntimeError(message)


def _factory(func: Any) -> Callable[..., Any]:
    device = torch.device(NAME, 0)
    return lambda *args, **kwargs: _run(func, args, {"device": device} | kwargs)


def _copy_from(source: Any, target: Any, non_blocking: bool = False) -> Any:
    inner = target.inner if isinstance(target, FakeTensor) else target
    inner.copy_(source.inner if isinstance(source, FakeTensor) else source)
    return target


@functools.cache
def install() -> tuple[library.Library, ...]:
    """Register the device; what is returned must stay alive."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_BackendModule())
    fallback = library.Library("_", "IMPL")
    fallback.fallback(lambda func, *args, **kwargs: _run(func, args, kwargs), "PrivateUse1")
    operators = library.Library("aten", "IMPL")  # reached where dispatch modes are off
    operators.impl("_copy_from", _copy_from, "PrivateUse1")
    for func in _FACTORIES:
        operators.impl(func.name().removeprefix("aten::"), _factory(func), "PrivateUse1")
    return fallback, operators
