"""Table 1 of SPP as it is printed, and the sides of its maps, one layer at a time."""

from __future__ import annotations

TABLE_1 = {
    "convnet5": [
        "96 x 11, str 4 | LRN | 55",
        "256 x 5, str 1 | LRN, pool 3, str 2 | 27",
        "384 x 3, str 1 | pool 3, str 2 | 13",
        "384 x 3, str 1 | | 13",
        "256 x 3, str 1 | | 13",
    ],
    "overfeat5": [
        "96 x 7, str 2 | pool 3, str 3, LRN | 36",
        "256 x 5, str 1 | pool 2, str 2 | 18",
        *["512 x 3, str 1 | | 18"] * 3,
    ],
    "overfeat7": [
        "96 x 7, str 2 | pool 3, str 3, LRN | 36",
        "256 x 5, str 1 | pool 2, str 2 | 18",
        *["512 x 3, str 1 | | 18"] * 5,
    ],
}
"""Filters x kernel, stride | what follows the layer, in order | side of the map at 224."""

PADS = {"convnet5": (2, 2, 1, 1, 1), "overfeat5": (0, 2, 1, 1, 1), "overfeat7": (0, 2, *[1] * 5)}
"""Of the conv layers: "the padding is adjusted to produce the expected output feature map size"."""


def rows(name: str) -> list[tuple[int, int, int, list[str], int]]:
    """Return filters, kernel, stride, what follows, and side of each conv layer of a network."""
    parsed = []
    for line in TABLE_1[name]:
        conv, after, side = (part.strip() for part in line.split("|"))
        shape, stride = conv.split(", str ")
        filters, kernel = map(int, shape.split(" x "))
        words = after.replace(", str ", "/").split(", ") if after else []
        parsed.append((filters, kernel, int(stride), words, int(side)))
    return parsed


def sides(name: str, side: int) -> list[int]:
    """Return the side of the map after each conv layer and what follows it, everything floored."""
    found = []
    for (_, kernel, stride, after, _), pad in zip(rows(name), PADS[name], strict=True):
        side = (side + 2 * pad - kernel) // stride + 1
        for word in after:
            if word.startswith("pool"):
                window, step = map(int, word.removeprefix("pool ").split("/"))
                side = (side - window) // step + 1
        found.append(side)
    return found


def first_centre(name: str) -> float:
    """Return the 0-based input pixel at the centre of the first cell's receptive field."""
    layers = []
    for (_, kernel, stride, after, _), pad in zip(rows(name), PADS[name], strict=True):
        layers.append((kernel, stride, pad))
        pools = [word.removeprefix("pool ").split("/") for word in after if word != "LRN"]
        layers += [(int(window), int(step), 0) for window, step in pools]
    low, high = 0, 0
    for kernel, stride, pad in reversed(layers):
        low, high = low * stride - pad, high * stride - pad + kernel - 1
    return (low + high) / 2
