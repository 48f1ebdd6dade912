"""Where the views of an image lie (SPP §3.1, §3.1.5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.features.projection import project_boxes
from detection.structures import ConvGeometry, Size

Place = tuple[int, int]
"""(top, left) of a crop."""


def centre_place(size: Size, crop: int) -> Place:
    """Return the corner of the central crop; half a pixel is rounded down."""
    return (size[0] - crop) // 2, (size[1] - crop) // 2


def corner_places(size: Size, crop: int) -> list[Place]:
    """Return the crop corners for the centre and the four corners of the *whole* image.

    Args:
        size: (height, width) of the image.
        crop: side of the crops.

    Raises:
        ValueError: if the crop is larger than the image.

    Source:
        SPP §3.1; Krizhevsky et al. take the corners of the central square instead.
    """
    bottom, right = size[0] - crop, size[1] - crop
    if min(bottom, right) < 0:
        message = f"crop: expected at most {min(size)} pixels, got {crop}"
        raise ValueError(message)
    return [centre_place(size, crop), (0, 0), (0, right), (bottom, 0), (bottom, right)]


def nine_places(size: Size, crop: int) -> list[Place]:
    """Return centre, corners and mid-sides; three crops if a side equals the crop's.

    With the mirror images these are 18 views, or 6 where the crop is the shorter side.

    Source:
        SPP §3.1.5.
    """
    middle = centre_place(size, crop)
    corners = corner_places(size, crop)
    bottom, right = corners[-1]
    if min(size) == crop:
        return [middle, (0, 0), (bottom, right)]
    sides = [(0, middle[1]), (middle[0], 0), (middle[0], right), (bottom, middle[1])]
    return [*corners, *sides]


def cut_out(image: Tensor, places: Sequence[Place], crop: int, *, mirrored: bool) -> Tensor:
    """Return the crops and, with ``mirrored``, then their mirror images: (v, 3, s, s)."""
    crops = torch.stack([image[:, y : y + crop, x : x + crop] for y, x in places])
    return torch.cat((crops, crops.flip(3))) if mirrored else crops


def view_windows(
    places: Sequence[Place], crop: int, input_size: Size, geometry: ConvGeometry, map_size: Size
) -> Int[Tensor, "v 4"]:
    """Return the cells of the whole image's map that each view covers (SPP Appendix A).

    Args:
        places: of the views, pixels of the network's input.
        crop: side of the views.
        input_size: (height, width) of the input.
        geometry: of the map.
        map_size: its (rows, columns).
    """
    boxes = torch.tensor(
        [(left, top, left + crop, top + crop) for top, left in places], dtype=torch.float32
    )
    return project_boxes(boxes, input_size, input_size, geometry, map_size, "paper")


def whole_window(values: Float[Tensor, "c h w"]) -> Int[Tensor, "1 4"]:
    """Return the window that is the whole map."""
    return torch.tensor([[0, 0, values.shape[2], values.shape[1]]])
