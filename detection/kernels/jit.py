"""numba where it is installed, and a plain function where it is not.

A compiled function calls only functions of its own file: numba's cache notices a change of the file
that it compiled, not of the files that were inlined.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
from collections.abc import Callable, Set
from typing import Any, TypeVar, overload

NUMBA_AVAILABLE = importlib.util.find_spec("numba") is not None
Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def jit(function: Function) -> Function: ...


@overload
def jit(*, fastmath: Set[str]) -> Callable[[Function], Function]: ...


def jit(function: Function | None = None, *, fastmath: Set[str] = frozenset()) -> Any:
    """Compile at the first call and keep the machine code beside the source, or in a user folder.

    Where no folder is writable the code is compiled anew in each process. Without numba the
    function comes back as it is. Compiled code releases the GIL and divides as NumPy does.

    Args:
        function: to compile.
        fastmath: the liberties that LLVM may take with floats; none by default, so that the numbers
            are those of the source, operation by operation.
    """
    if function is None:
        return functools.partial(jit, fastmath=fastmath)
    if not NUMBA_AVAILABLE:
        return function
    import numba

    plain = inspect.unwrap(function)
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath) or False}
    try:
        return numba.njit(cache=True, **options)(plain)
    except RuntimeError:  # "cannot cache function: no locator available"
        return numba.njit(**options)(plain)


def can_cache(function: Callable[..., Any]) -> bool:
    """Return whether there is a folder in which the compiled form can be kept."""
    return getattr(getattr(function, "stats", None), "cache_path", None) is not None


def is_cached(function: Callable[..., Any]) -> bool:
    """Return whether a compiled form of the function is already cached on disk."""
    from pathlib import Path

    folder = getattr(getattr(function, "stats", None), "cache_path", None)
    if folder is None:
        return False
    module = function.__module__.rpartition(".")[2]
    return any(Path(folder).glob(f"{module}.{function.__name__}-*.nbc"))
