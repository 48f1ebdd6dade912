"""Pool 2,000 windows into 1 + 4 + 9 + 36 bins, against torchvision and against a Python loop.

Maps of 256 x 38 x 50 and 512 x 38 x 63 cells (ZF-5 and VGG16 on an image at 688 pixels); the
sides of the windows are spread evenly over their logarithm. On a GPU with ``--cuda 1``: there
forward and backward, in float32 and bfloat16, also against the memory floor.
"""

from __future__ import annotations

import torch
from comparison import Candidate, compare, parse, report
from pooling_cases import LEVELS, MAPS, make_windows, pool_with_torchvision
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from detection.features.pyramid import bin_major_permutation, pyramid_pool


def pool_in_a_loop(values: Tensor, windows: Tensor) -> Tensor:
    """Pool one window after the other."""
    rows = []
    for x1, y1, x2, y2 in windows.tolist():
        cut = values[None, :, y1:y2, x1:x2]
        rows.append(torch.cat([adaptive_max_pool2d(cut, n).flatten() for n in LEVELS]))
    return torch.stack(rows)


def main() -> None:
    """Measure and print."""
    options = parse(
        __doc__.split("\n", maxsplit=1)[0], rois=2000, repeats=9, loop_repeats=3, cuda=0
    )
    if options.cuda:
        from spp_pooling_gpu import measure_on_gpu

        measure_on_gpu(options)
        return
    generator = torch.Generator().manual_seed(0)
    results = []
    for channels, rows, columns in MAPS:
        values = torch.randn(channels, rows, columns, generator=generator).relu()
        last = values.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # as the trunk leaves it
        windows = make_windows(options.rois, rows, columns, generator)
        half = last.bfloat16()
        back = bin_major_permutation(channels, LEVELS).argsort()

        def difference(a: Tensor, b: Tensor, back: Tensor = back) -> float:
            return min(float((a - b).abs().max()), float((a[:, back] - b).abs().max()))

        def rough(a: Tensor, b: Tensor, values: Tensor = values) -> float:
            return float((a - b.bfloat16().float()).abs().max())

        size = f"{channels}x{rows}x{columns}"
        slow = Candidate(
            name="torchvision.ops.roi_pool, 4 levels",
            run=lambda v=values, w=windows: pool_with_torchvision(v, w),
        )
        loop = Candidate(
            name="adaptive_max_pool2d in a loop",
            run=lambda v=values, w=windows: pool_in_a_loop(v, w),
        )
        ours = [
            (f"pyramid_pool {size}", lambda m=last, w=windows: pyramid_pool(m, w)),
            (
                f"pyramid_pool {size}, bin-major",
                lambda m=last, w=windows: pyramid_pool(m, w, layout="bin_major"),
            ),
        ]
        quick = (
            f"pyramid_pool {size}, bfloat16",
            lambda m=half, w=windows: pyramid_pool(m, w),
        )
        step = f"SPP pooling {size}"
        results += compare(
            step,
            slow,
            [Candidate(name=n, run=r, reach=35.0 * (n == ours[0][0])) for n, r in ours],
            difference,
            options.repeats,
        )
        results += compare(
            step, slow, [Candidate(name=quick[0], run=quick[1], reach=0.0)], rough, options.repeats
        )
        results += compare(
            step,
            loop,
            [Candidate(name=n, run=r, reach=70.0 * (n == ours[0][0])) for n, r in ours],
            difference,
            options.loop_repeats,
        )
    for against in dict.fromkeys((r.step, r.against) for r in results):
        report(
            [r for r in results if (r.step, r.against) == against],
            options,
            f"{options.rois} RoIs, cpu, float32 out",
        )


if __name__ == "__main__":
    main()
