"""Overlapping boxes keep a lower score instead of being dropped: beyond both papers."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.kernels.nms import soften_classes
from detection.kernels.threads import in_threads


def soften(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    labels: Int[Tensor, " n"],
    sigma: float,
    floor: float,
) -> Float[Tensor, " n"]:
    """Return the scores, each lowered by the better boxes of its class that its box overlaps.

    From the best box of a class to the worst, each multiplies the scores of the boxes that are left
    by ``exp(-IoU^2 / sigma)``, and what is best among these is next. Laws: a box that nothing
    overlaps keeps its score; no score rises; the best of a class stays.

    Args:
        boxes: image pixels, finite.
        scores: finite, from 0; of equal ones the first is better.
        labels: 0..K-1.
        sigma: above 0; the smaller, the more is suppressed.
        floor: from 0; a score that falls to it or below ends there and lowers no other.

    Returns:
        On the device of the scores; they are computed on the CPU.

    Source:
        Bodla et al., arXiv 1704.04503, equation 3.
    """
    rows = labels.cpu().argsort(stable=True).numpy()
    sizes = torch.bincount(labels.cpu())
    edges = torch.cat((sizes.new_zeros(1), sizes.cumsum(0))).numpy()
    corners = boxes.cpu().float().contiguous().numpy()
    lowered = scores.detach().cpu().float().clone()
    values = lowered.numpy()

    def work(first: int, last: int) -> None:
        soften_classes(corners, values, rows, edges[first : last + 1], sigma, floor)

    in_threads(work, len(sizes))
    return lowered.to(scores)
