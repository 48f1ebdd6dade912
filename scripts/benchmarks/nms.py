"""Suppression within 20 classes of 2,000 boxes each, against torchvision's one class at a time.

``max_difference`` is 0 where both keep exactly the same boxes in the same order, otherwise 1.
"""

from __future__ import annotations

import torch
import torchvision
from comparison import Candidate, compare, parse, report

from detection.postprocess import multiclass_nms


def main() -> None:
    """Measure and print."""
    options = parse(__doc__.split("\n", maxsplit=1)[0], boxes=2000, classes=20, repeats=21)
    random = torch.Generator().manual_seed(0)
    n, k = options.boxes, options.classes
    corner, extent = torch.rand(n * k, 2, generator=random), torch.rand(n * k, 2, generator=random)
    boxes = torch.cat((corner * 400, corner * 400 + 20 + extent * 150), dim=1)
    scores = torch.randn(n * k, generator=random)
    labels = torch.arange(k).repeat(n)
    rows = [(labels == label).nonzero().flatten() for label in range(k)]
    results = []
    for threshold, share in ((-9.0, "all"), (0.8, "a fifth")):
        chosen = [r[scores[r] > threshold] for r in rows]
        together = torch.cat(chosen).sort().values
        arguments = boxes[together], scores[together], labels[together]
        apart = [(boxes[r], scores[r]) for r in chosen]

        def ours(arguments: tuple[torch.Tensor, ...] = arguments) -> torch.Tensor:
            return arguments[1][multiclass_nms(*arguments, 0.3)]

        def loop(apart: list[tuple[torch.Tensor, torch.Tensor]] = apart) -> torch.Tensor:
            return torch.cat([s[torchvision.ops.nms(b, s, 0.3)] for b, s in apart])

        results += compare(
            f"NMS, {share} of the scores",
            Candidate(name="torchvision.ops.nms a class", run=loop),
            [
                Candidate(
                    name=f"multiclass_nms, {share}", run=ours, reach=8.0 if share == "all" else 1
                )
            ],
            lambda a, b: float(not torch.equal(a, b)),
            options.repeats,
        )
    for result in results:
        report([result], options, f"{k} x {n} boxes, IoU 0.3, float32")


if __name__ == "__main__":
    main()
