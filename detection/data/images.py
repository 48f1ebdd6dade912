"""The one image reader: every stage sees the same upright 8-bit RGB pixels.

What a file is follows from its first bytes, not from its name. The size is checked before anything
is decoded, a truncated file is refused, and nothing is ever written. Of an animation or a
multi-page file the first frame is taken.
"""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import torch

from detection.data.image_files import (
    EXTENSIONS,
    FORMATS,
    HAS_AVIF,
    MAX_PIXELS,
    decode,
    decode_opened,
    is_image_name,
    read_file,
    read_header,
    read_size,
    read_sizes,
)
from detection.structures import Image

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "HAS_AVIF",
    "MAX_PIXELS",
    "decode_image",
    "from_pillow",
    "is_image_name",
    "read_file",
    "read_header",
    "read_image",
    "read_size",
    "read_sizes",
]


def read_image(path: Path, image_id: str | None = None, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read one image file as 8-bit RGB, upright.

    Args:
        path: the file.
        image_id: identifier of the result; the file's stem where absent.
        max_pixels: a larger image is refused before it is decoded.

    Raises:
        ImageError: where the file cannot be read, is no image, is truncated or too large.
        DataError: where disk or memory fail.
    """
    name = path.stem if image_id is None else image_id
    pixels = decode(read_file(path), str(path), max_pixels)
    return Image(image_id=name, pixels=torch.from_numpy(pixels))


def decode_image(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode the bytes of an image file; ``name`` identifies it in the result and in errors.

    Raises:
        ImageError: where the bytes are no image, truncated or too large.
        DataError: where memory does not suffice.
    """
    return Image(image_id=name, pixels=torch.from_numpy(decode(data, name, max_pixels)))


def from_pillow(image: PIL.Image.Image, name: str, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Return a Pillow image, oriented and converted like one read from a file.

    Raises:
        ImageError: where it is too large, its pixels cannot be had or have no known range.
    """
    return Image(image_id=name, pixels=torch.from_numpy(decode_opened(image, name, max_pixels)))
