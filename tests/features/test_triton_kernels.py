import os
from dataclasses import asdict

import pytest

triton = pytest.importorskip("triton")
triton_kernels = pytest.importorskip("detection.features.triton_kernels")
triton_pyramid = pytest.importorskip("detection.features.triton_pyramid")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
LEVELS = (1, 2, 3, 6)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("levels", [LEVELS, (4, 3)])
@pytest.mark.parametrize("kernel", ["pool_windows", "spread_gradient"])
def test_the_kernels_compile_for_a_gpu_that_is_not_here(
    kernel, levels, dtype, monkeypatch, tmp_path
):
    """The compiler refuses more of Python than the interpreter does.

    And bins must stay in their threads: merging levels with shuffles would take hundreds of them.
    """
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_kernels, kernel)
    pointers = {"values": f"*{dtype}", "windows": "*i64", "gradient": "*fp32", "out": "*fp32"}
    narrow = kernel is triton_kernels.spread_gradient
    constants = {
        **asdict(triton_pyramid.make_plan(levels)),
        "bin_major": False,
        "vector": 1 if narrow else 2,
    }
    signature = {
        name: "constexpr" if name in constants else pointers.get(name, "i32")
        for name in kernel.arg_names
    }
    source = triton.compiler.ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
    )
    target = triton.backends.compiler.GPUTarget("cuda", 90, 32)
    compiled = triton.compile(source, target=target, options={"num_warps": 1})
    assert compiled.asm["cubin"]
    assert compiled.asm["ptx"].count("shfl.sync") <= 64


def test_a_warp_is_as_wide_as_the_kernels_think():
    assert triton_kernels.LANES.value == 32
