"""Felzenszwalb and Huttenlocher 2004, section 4, as written: sets are Python sets."""

from __future__ import annotations

import numpy as np


def grid_edges(planes: np.ndarray) -> list[tuple[float, int, int]]:
    """Return (weight, pixel, pixel) for each pair of 4-neighbours, right before down."""
    _, height, width = planes.shape
    values = planes.reshape(len(planes), -1).astype(np.float64)
    edges = []
    for p in range(height * width):
        for q, inside in ((p + 1, p % width + 1 < width), (p + width, p // width + 1 < height)):
            if inside:
                edges.append((float(np.linalg.norm(values[:, p] - values[:, q])), p, q))
    return edges


def segment(
    edges: list[tuple[float, int, int]], num_pixels: int, k: float, min_size: int
) -> list[int]:
    """Return each pixel's label, numbered in the order of the components' first pixels."""
    component = {p: {p} for p in range(num_pixels)}
    internal = dict.fromkeys(range(num_pixels), 0.0)  # by the smallest pixel of a component

    def merge(a: set[int], b: set[int], weight: float) -> None:
        union = a | b
        for p in union:
            component[p] = union
        internal[min(union)] = weight

    edges = sorted(edges, key=lambda edge: edge[0])
    for weight, p, q in edges:
        a, b = component[p], component[q]
        limits = [internal[min(c)] + k / len(c) for c in (a, b)]
        if a is not b and weight <= min(limits):
            merge(a, b, weight)
    for weight, p, q in edges:
        a, b = component[p], component[q]
        if a is not b and min(len(a), len(b)) < min_size:
            merge(a, b, weight)
    firsts = sorted({min(c) for c in component.values()})
    return [firsts.index(min(component[p])) for p in range(num_pixels)]
