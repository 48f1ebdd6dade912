"""Image files: what they are, their sizes, and their upright 8-bit RGB pixels as arrays.

What a file is follows from its first bytes, not from its name. The size is checked before anything
is decoded, a truncated file is refused, and nothing is ever written. Of an animation or a
multi-page file the first frame is taken.
"""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
import PIL.features
import PIL.Image
import PIL.PngImagePlugin
import PIL.TiffImagePlugin
from numpy.typing import NDArray

from detection.errors import DataError, ImageError
from detection.io.image_errors import file_error, raise_unless_own
from detection.io.reading import read_plain, require_plain
from detection.values import Size

MAX_PIXELS = 89_000_000
"""The largest image that is decoded by default, in pixels: 267 MB as 8-bit RGB."""

EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".jfif", ".jpe", ".avif", ".apng", ".pnm", ".pbm"),
)
"""File name endings, in lower case, that are looked for when an image is named without one."""

HAS_AVIF = PIL.features.check("avif") is True
"""Whether Pillow reads AVIF: from 11.3 on, where it was built so."""

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM", *(("AVIF",) if HAS_AVIF else ()))

_FORMAT_LIST = "JPEG, PNG, BMP, WEBP, GIF, TIFF or PPM" + ", or AVIF" * HAS_AVIF
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), "HEIC"),
}
_ORIENTATION_TAG = 0x0112
_TRANSPOSES = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
_TURNING = {5, 6, 7, 8}
_OPENING = threading.Lock()
_LOG = logging.getLogger(__name__)

_BIT_DEPTHS = (8, 10, 12, 14, 16)

# Colour profiles and notes of some megabytes are real; Pillow's own limit is one. What an image may
# take is bounded by its pixels and by the file.
PIL.PngImagePlugin.MAX_TEXT_CHUNK = PIL.PngImagePlugin.MAX_TEXT_MEMORY = 64 * 2**20


def is_image_name(name: str) -> bool:
    """Return whether a file in a folder is to be taken for an image.

    Hidden files are not, such as the ``._photo.jpg`` that macOS leaves beside each ``photo.jpg``.
    """
    return not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS


def read_size(path: Path) -> Size:
    """Return the upright (height, width) of an image file, reading only its header.

    Raises:
        DataError: where the file cannot be read or is no image.
    """
    return read_header(path)[0]


def read_sizes(path: Path) -> tuple[Size, Size]:
    """Return the (height, width) as shown and as stored; EXIF rotation makes them differ.

    Raises:
        DataError: where the file cannot be read or is no image.
    """
    return read_header(path)[:2]


def read_header(path: Path) -> tuple[Size, Size, bool]:
    """Return the (height, width) as shown and as stored, and whether EXIF turns or mirrors.

    Raises:
        DataError: where the file cannot be read or is no image.
    """
    require_plain(path, "a readable file", ImageError)
    try:
        with path.open("rb") as file, _open(file, str(path)) as image:
            width, height = image.size
            orientation = _orientation(image)
            if isinstance(image, PIL.TiffImagePlugin.TiffImageFile):
                # some versions of Pillow turn a TIFF's size when they open it, others do not
                width, height = int(image.tag_v2[256]), int(image.tag_v2[257])
                orientation = image.tag_v2.get(_ORIENTATION_TAG, 1)
    except (OSError, UnicodeEncodeError) as error:
        raise _unreadable(path, error) from error
    stored = (height, width)
    upright = (width, height) if orientation in _TURNING else stored
    return upright, stored, orientation in _TRANSPOSES


def known_header(path: Path) -> tuple[Size, Size, bool]:
    """Return what ``read_header`` does; the header of a file that did not change is read once.

    Raises:
        DataError: where the file cannot be read or is no image.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return read_header(path)
    key = (str(path), status.st_ino, status.st_mtime_ns, status.st_size)
    if key not in _HEADERS:
        if len(_HEADERS) >= _MOST_HEADERS:
            _HEADERS.clear()
        _HEADERS[key] = read_header(path)
    return _HEADERS[key]


_HEADERS: dict[tuple[str, int, int, int], tuple[Size, Size, bool]] = {}
_MOST_HEADERS = 1 << 18


def read_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        DataError: naming path and reason where it cannot be read.
    """
    try:
        return read_plain(path, "a readable file", ImageError)
    except (OSError, UnicodeEncodeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError | UnicodeEncodeError) -> DataError:
    if isinstance(error, UnicodeEncodeError):
        return ImageError(f"{str(path)!a}: expected a name of Unicode text, got {error.reason}")
    return file_error(str(path), error)


def decode(data: bytes, location: str, max_pixels: int) -> NDArray[np.uint8]:
    """Return the upright 8-bit RGB pixels of the bytes of an image file.

    Args:
        data: of the file.
        location: what to call it in errors.
        max_pixels: a larger image is refused before it is decoded.

    Raises:
        ImageError: where the bytes are no image, truncated or too large.
        DataError: where memory does not suffice.
    """
    if not data:
        message = f"{location}: expected an image, got an empty file; fetch it again"
        raise ImageError(message)
    with _open(io.BytesIO(data), location) as image:
        return decode_opened(image, location, max_pixels)


def decode_opened(image: PIL.Image.Image, location: str, max_pixels: int) -> NDArray[np.uint8]:
    """Return the pixels, as ``decode`` does, of an image whose header is read."""
    width, height = image.size
    if width * height > max_pixels:
        message = (
            f"{location}: expected at most {max_pixels:,} pixels, got {width} x {height} = "
            f"{width * height:,}; make the image smaller or raise data.max_pixels"
        )
        raise ImageError(message)
    try:
        orientation = _orientation(image)
        return np.array(_upright(_to_rgb(image, location), orientation))
    except ImageError:
        raise
    except Exception as error:  # the decoders raise whatever they like on damaged files
        raise_unless_own(error, location)
        message = (
            f"{location}: expected a whole {image.format} image, got one that cannot be decoded "
            f"({_words(error)}); fetch or save it again"
        )
        raise ImageError(message) from error


def require_whole(data: bytes, location: str, max_pixels: int) -> None:
    """Raise what ``decode`` does, in less time: JPEG is decoded to an eighth of its side.

    All its coefficients are read for that, which is where damage shows.
    """
    if data.startswith(b"\xff\xd8"):
        with _open(io.BytesIO(data), location) as image:
            image.draft("L", (1, 1))
            decode_opened(image, location, max_pixels)
    else:
        decode(data, location, max_pixels)


def _open(file: io.BytesIO | io.BufferedReader, location: str) -> PIL.Image.Image:
    """Read the header."""
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size limit here is ours
            image = PIL.Image.open(file, formats=FORMATS)
    except PIL.Image.DecompressionBombError as error:
        message = (
            f"{location}: expected at most {2 * (PIL.Image.MAX_IMAGE_PIXELS or 0):,} pixels, got "
            f"more ({_words(error)}); make the image smaller"
        )
        raise ImageError(message) from error
    except Exception as error:
        raise_unless_own(error, location)
        file.seek(0)
        head = file.read(12)
        if reason := _reason(file, head):
            message = (
                f"{location}: expected an image, got a PNG that cannot be read ({reason}); save it "
                "again"
            )
            raise ImageError(message) from error
        message = (
            f"{location}: expected an image ({_FORMAT_LIST}), got {_described(head)}; convert or "
            "remove it"
        )
        raise ImageError(message) from error
    return image


def _described(head: bytes) -> str:
    """Return in words what a file is that cannot be opened, by its first bytes."""
    kind = _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    if kind == "AVIF" and not HAS_AVIF:
        return f"AVIF, which Pillow {PIL.__version__} does not read here (11.3 and later can)"
    if kind == "AVIF":
        return "an AVIF file that is damaged"
    return kind or f"a file that begins with {head!r}"


def _reason(file: io.BytesIO | io.BufferedReader, head: bytes) -> str:
    """Return why a PNG cannot be opened, which Pillow keeps to itself; nothing for other files."""
    if not head.startswith(b"\x89PNG\r\n"):
        return ""
    file.seek(0)
    try:
        PIL.PngImagePlugin.PngImageFile(file)
    except Exception as error:
        return _words(error)
    return ""


def _to_rgb(image: PIL.Image.Image, location: str) -> PIL.Image.Image:
    """Return 8-bit RGB with transparent pixels composited over white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        message = (
            f"{location}: expected 8- or 16-bit pixels, got floating-point ones whose range is "
            "unknown; convert the image to 8 bits"
        )
        raise ImageError(message)
    if image.mode.startswith("I"):
        return PIL.Image.fromarray(_high_bytes(np.array(image), location)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = PIL.Image.new("RGBA", rgba.size, "white")
        return PIL.Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _high_bytes(values: NDArray[np.generic], location: str) -> NDArray[np.uint8]:
    """Scale 16 bits to 8 by their high byte, as Pillow does with 16-bit colour.

    Cameras store 10, 12 or 14 bits in 16. How many are meant is not written down: an image whose
    largest value lies in the lowest quarter of the range is taken to have as few bits as this value
    needs, which is logged.
    """
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 0xFFFF:
        message = (
            f"{location}: expected 8- or 16-bit pixels, got values from {wide.min()} to "
            f"{wide.max()}; convert the image to 8 bits"
        )
        raise ImageError(message)
    bits = next(b for b in _BIT_DEPTHS if int(wide.max(initial=0)) < 1 << b)
    if bits < 16:
        _LOG.warning(
            "%s: expected values up to 65,535 in 16 bits, got at most %d; read as %d bits",
            location,
            int(wide.max(initial=0)),
            bits,
        )
    return (wide >> (bits - 8)).astype(np.uint8)


def _upright(image: PIL.Image.Image, orientation: int) -> PIL.Image.Image:
    transpose = _TRANSPOSES.get(orientation)
    return image if transpose is None else image.transpose(transpose)


def _orientation(image: PIL.Image.Image) -> int:
    """Return the EXIF orientation stored before the pixels, 1 if there is none.

    A TIFF's is not among them: Pillow turns its pixels itself.
    """
    try:
        return _orientation_of_exif(image.info.get("exif", b""))
    except struct.error:  # a block that ends too early says nothing
        return 1


def _orientation_of_exif(block: bytes) -> int:
    """Find tag 0x0112 in the first directory of an EXIF block."""
    block = block.removeprefix(b"Exif\x00\x00")
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(block[:4])
    if order is None:
        return 1
    (start,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, _, value = struct.unpack_from(order + "HHIH", block, entry)
        if tag == _ORIENTATION_TAG and kind == 3:
            return value if value in _TRANSPOSES else 1
    return 1


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
