"""Convert arrays, Pillow images and files to this package's `Image`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from detection.data.images import MAX_PIXELS, from_pillow, read_image
from detection.errors import DataError
from detection.structures import Image

ImageLike = Image | NDArray[Any] | PIL.Image.Image | str | Path
"""An `Image`, an array, a Pillow image or the path of a file."""

_CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def to_image(value: ImageLike, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Return upright 8-bit RGB from an array, a Pillow image or a file.

    Args:
        value: an array is (height, width) or (height, width, channels), uint8, its colours in the
            order **RGB**: turn what OpenCV reads round with ``pixels[..., ::-1]``. Transparent
            pixels are laid over white. Pillow images are rotated according to EXIF, as files
            are.
        max_pixels: a larger image is refused.

    Returns:
        The image; its identifier is the file's stem, ``image`` where there is no file.

    Raises:
        DataError: for an array of another type or shape, and for files that cannot be read.

    Examples:
        >>> to_image(np.zeros((48, 64), dtype=np.uint8)).size
        (48, 64)
        >>> to_image(PIL.Image.new("RGBA", (64, 48))).pixels[0, 0].tolist()
        [255, 255, 255]
        >>> to_image(np.zeros((48, 64, 3)))
        Traceback (most recent call last):
        detection.errors.DataError: image: expected an array of uint8, got float64; scale it to ...
    """
    if isinstance(value, Image):
        return value
    if isinstance(value, str | Path):
        return read_image(Path(value), max_pixels=max_pixels)
    if isinstance(value, PIL.Image.Image):
        name = getattr(value, "filename", "")
        stem = Path(name).stem if isinstance(name, str | Path) else ""
        return from_pillow(value, stem or "image", max_pixels=max_pixels)
    return from_pillow(_picture(value), "image", max_pixels=max_pixels)


def _picture(values: Any) -> PIL.Image.Image:
    """Check an array and hand it to Pillow."""
    if not isinstance(values, np.ndarray):
        kind = type(values).__name__
        message = f"image: expected an array, a Pillow image or a path, got {kind}"
        raise DataError(message)
    if values.dtype != np.uint8:
        message = (
            f"image: expected an array of uint8, got {values.dtype}; scale it to 0..255 and "
            "convert it with .astype(np.uint8)"
        )
        raise DataError(message)
    shape = values.shape
    if values.ndim not in {2, 3} or values.size == 0 or (*shape, 1)[2] not in _CHANNELS:
        message = (
            "image: expected an array (height, width) or (height, width, channels) with 1 to 4 "
            f"channels, got {shape}"
        )
        raise DataError(message)
    mode = _CHANNELS[(*shape, 1)[2]]
    plain = np.ascontiguousarray(values[..., 0] if mode == "L" and values.ndim == 3 else values)
    return PIL.Image.frombytes(mode, (shape[1], shape[0]), plain.tobytes())
