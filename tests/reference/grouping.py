"""Uijlings et al. 2013, Algorithm 1 and section 3.2, as written: regions are sets of pixels."""

from __future__ import annotations

import itertools

import numpy as np


def neighbours(labels: np.ndarray) -> set[tuple[int, int]]:
    """Return the pairs of labels that meet at a side or at a pixel's upper left corner."""
    height, width = labels.shape
    pairs = set()
    for i, j in itertools.product(range(height), range(width)):
        for y, x in ((i, j - 1), (i - 1, j), (i - 1, j - 1)):
            if y >= 0 and x >= 0 and labels[i, j] != labels[y, x]:
                pairs.add(tuple(sorted((int(labels[i, j]), int(labels[y, x])))))
    return pairs


def histogram(values: list[np.ndarray], region: set[int], bins: int) -> np.ndarray:
    """Concatenate the histograms of several bin maps over a region, scaled to sum 1."""
    pixels = sorted(region)
    counts = np.concatenate([np.bincount(v.ravel()[pixels], minlength=bins) for v in values])
    return counts / counts.sum()


def box(region: set[int], width: int) -> tuple[int, int, int, int]:
    """Return a region's box, x2 and y2 exclusive."""
    ys, xs = np.divmod(sorted(region), width)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def group(labels: np.ndarray, colour: list, texture: list, uses: tuple) -> tuple[list, float]:
    """Return the boxes in order of creation, and the margin of the closest choice."""
    width, size = labels.shape[1], labels.size
    regions = [set(np.flatnonzero(labels.ravel() == r)) for r in range(labels.max() + 1)]
    touching = {frozenset(pair) for pair in neighbours(labels)}

    def similarity(a: set[int], b: set[int]) -> float:
        x1, y1, x2, y2 = box(a | b, width)
        parts = (
            np.minimum(histogram(colour, a, 25), histogram(colour, b, 25)).sum(),
            np.minimum(histogram(texture, a, 10), histogram(texture, b, 10)).sum(),
            1 - (len(a) + len(b)) / size,
            1 - ((x2 - x1) * (y2 - y1) - len(a) - len(b)) / size,
        )
        return float(sum(part for part, used in zip(parts, uses, strict=True) if used))

    margin = np.inf
    while touching:
        scored = sorted((similarity(*(regions[r] for r in p)), sorted(p)) for p in touching)
        a, b = scored[-1][1]
        margin = min(margin, scored[-1][0] - scored[-2][0]) if len(scored) > 1 else margin
        new = len(regions)
        regions.append(regions[a] | regions[b])
        touching = {frozenset(new if r in (a, b) else r for r in p) for p in touching}
        touching = {p for p in touching if len(p) == 2}
    return [box(region, width) for region in regions], margin
