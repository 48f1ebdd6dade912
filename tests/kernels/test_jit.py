import importlib
import sys
from typing import Any

import pytest

from detection.kernels import depthwise, jit, matmul, nms, pyramid, quantize

needs_numba = pytest.mark.skipif(not jit.NUMBA_AVAILABLE, reason="needs numba")


def double(x: int) -> int:
    return 2 * x


@needs_numba
def test_a_read_only_home_still_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    plain = numba.njit

    def refuse(*functions: Any, **options: bool) -> object:
        if options.pop("cache", False):
            message = "cannot cache function: no locator available"
            raise RuntimeError(message)
        return plain(*functions, **options)

    monkeypatch.setattr(numba, "njit", refuse)

    compiled = jit.jit(double)
    assert compiled(4) == 8
    assert not jit.is_cached(compiled)
    assert not jit.can_cache(compiled)
    assert jit.can_cache(pyramid.pool_windows)


def test_without_numba_a_function_comes_back_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    plain: Any = importlib.util.module_from_spec(jit.__spec__)
    jit.__spec__.loader.exec_module(plain)
    assert not plain.NUMBA_AVAILABLE
    assert plain.jit(double) is double
    assert plain.jit(fastmath={"nsz"})(double) is double


@needs_numba
@pytest.mark.parametrize(
    ("kernel", "fastmath"),
    [
        (nms.suppress_classes, False),
        (pyramid.pool_windows, False),
        (pyramid.spread_gradient, False),
        (quantize.round_rows, False),
        (quantize.scale_rows, False),
        (depthwise.weight_gradient, {"contract"}),
        (matmul.times, {"reassoc", "contract", "nsz"}),
    ],
)
def test_only_sums_of_products_may_be_reordered(kernel: Any, fastmath: object) -> None:
    assert kernel.targetoptions["fastmath"] == fastmath
    assert kernel.targetoptions["nogil"]
    assert kernel.targetoptions["error_model"] == "numpy"
