"""Files that may be read: plain ones of a bounded size, so that nothing waits or fills the memory.

To open a named pipe waits for a writer, for ever where there is none; a device has no end; a sparse
file of 50 GB takes no room on the disk and all of it in memory.
"""

from __future__ import annotations

import stat
from pathlib import Path

from detection.errors import DataError, DetectionError
from detection.io.variables import positive_variable

VARIABLE = "DETECTION_MAX_FILE_GIB"
"""The environment variable that sets the largest file that is read, in GiB."""

MAX_BYTES = 4 << 30
"""The largest file that is read where nothing else is set: eight times the weights of VGG16."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def odd_kind(path: Path) -> str:
    """Return what a path is where it is neither a plain file nor a folder nor missing, else ""."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # opening it raises the reason
        return ""
    return _KINDS.get(stat.S_IFMT(mode), "")


def max_bytes() -> int:
    """Return the size of the largest file that is read.

    Raises:
        ConfigError: if the environment variable is no positive number.
    """
    return int(positive_variable(VARIABLE, MAX_BYTES / 2**30, "GiB", 2**30) * 2**30)


def require_plain(path: Path, expected: str, kind: type[DetectionError]) -> None:
    """Check that a file may be read; one that is missing is left to who opens it.

    Args:
        path: the file.
        expected: what it is to be, for the message.
        kind: of the error.

    Raises:
        DetectionError: of this kind, if it is a named pipe, a device or a socket, or larger than
            `max_bytes`.
    """
    if odd := odd_kind(path):
        message = f"{path}: expected {expected}, got {odd}"
        raise kind(message)
    try:
        size = Path(path).stat().st_size
    except (OSError, ValueError):
        return
    if size > max_bytes():
        message = (
            f"{path}: expected {expected} of at most {max_bytes():,} bytes, got {size:,}; if it is "
            f"right, set {VARIABLE}"
        )
        raise kind(message)


def read_plain(path: Path, expected: str, kind: type[DetectionError] = DataError) -> bytes:
    """Return the content of a file.

    Args:
        path: the file.
        expected: what it is to be, for the message.
        kind: of the error for what may not be read.

    Raises:
        DetectionError: of this kind, see `require_plain`.
        OSError: as the system raises it.
    """
    require_plain(path, expected, kind)
    return Path(path).read_bytes()
