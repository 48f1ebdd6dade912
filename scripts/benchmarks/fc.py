"""fc6 and fc7 of 2,000 RoIs in every form, against torch's float32 layers.

``max_difference`` is the largest difference of an output over the largest output. The last lines
are floors: the time of these multiplications at the rate of a square product of 4,096, the best
that this machine shows in that precision.
"""

from __future__ import annotations

import time
from functools import partial

import torch
from comparison import Candidate, Comparison, compare, parse, report

from detection.heads.fast_fc import Kind, prepare_fast
from detection.heads.fc import FcHead

SIDE = 4096
REACH: dict[Kind, float] = {"fp32": 2.0, "bf16": 4.0, "int8": 7.0, "svd": 12.0, "svd_int8": 12.0}
NAMES: dict[Kind, str] = {
    "fp32": "float32, packed",
    "bf16": "bfloat16",
    "int8": "int8, dynamic",
    "svd": "rank 1024 and 256, bfloat16",
    "svd_int8": "rank 1024 and 256, int8",
}


def best_rate(kind: Kind, repeats: int, side: int = SIDE) -> float:
    """Return the best operations per second over several square products."""
    layer = prepare_fast(FcHead(side, size=side, bias=0.0), kind, "fc6")
    x = torch.rand(side, side)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        layer(x)
        seconds.append(time.perf_counter() - start)
    return float(2 * side**3 / min(seconds))


def floors(results: list[Comparison], operations: float, repeats: int) -> list[Comparison]:
    """Return, per precision, the time of the operations at its peak rate."""
    lines = []
    for kind in ("fp32", "bf16", "int8"):
        rate = best_rate(kind, repeats)
        seconds, against_s = operations / rate, results[0].against_s
        lines.append(
            Comparison(
                step="fc6 and fc7, floor",
                ours=f"{kind} at {rate / 1e9:.0f} G operations a second",
                against=results[0].against,
                ours_s=seconds,
                against_s=against_s,
                ratio=against_s / seconds,
                reach=0.0,
                max_difference=0.0,
            )
        )
    return lines


def main() -> None:
    """Measure and print."""
    options = parse(__doc__.split("\n", maxsplit=1)[0], rois=2000, feature_dim=12800, repeats=5)
    generator = torch.Generator().manual_seed(0)
    head = FcHead(options.feature_dim, bias=0.0, generator=generator).eval()
    with torch.no_grad():  # weights that decay like trained ones, so that a low rank makes sense
        for layer, rank in ((head.fc6, 1024), (head.fc7, 256)):
            basis = torch.randn(rank, layer.in_features, generator=generator) * 0.05
            mix = torch.randn(layer.out_features, rank, generator=generator) * rank**-0.5
            layer.weight.mul_(0.1).add_(mix @ basis)
    x = torch.randn(options.rois, options.feature_dim, generator=generator).relu()

    def plain() -> torch.Tensor:
        with torch.inference_mode():
            return head(x)

    candidates = [
        Candidate(name=NAMES[kind], run=partial(prepare_fast(head, kind), x), reach=reach)
        for kind, reach in REACH.items()
    ]
    results = compare(
        "fc6 and fc7",
        Candidate(name="torch.nn.Linear, float32", run=plain),
        candidates,
        lambda a, b: float((a - b).abs().max() / b.abs().max()),
        options.repeats,
    )
    products = options.feature_dim * SIDE + SIDE * SIDE
    results += floors(results, 2.0 * options.rois * products, options.repeats)
    setting = f"{options.rois} x {options.feature_dim} -> 4096 -> 4096, input and output float32"
    report(results, options, setting)


if __name__ == "__main__":
    main()
