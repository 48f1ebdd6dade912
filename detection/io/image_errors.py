"""The closed list of errors that are an image's own fault.

A run goes on without an image only if the image itself is at fault:

- its file is missing, is no file, or may not be read (``OF_THE_FILE``);
- its bytes are no image, damaged, too large, or pixels of an unknown range;
- OpenCV refuses its pixels;
- its search takes longer than ``proposals.time_limit``.

These are raised as `ImageError`, and code that skips images catches nothing else. Every
other error (a full or failing disk, memory, a network, a folder that cannot be written, a mistake
in the program) stops the run with one line, and an interrupt stops it at once.
"""

from __future__ import annotations

import errno

from detection.errors import DataError, ImageError
from detection.io.interrupts import raise_if_interrupted

OF_THE_FILE = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENXIO,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EILSEQ,
        errno.EACCES,
        errno.EPERM,
    }
)
"""Reasons for which the system refuses to read one file while it reads others."""

NO_MEMORY = "not enough memory; close other programs, or use fewer processes or smaller images"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether torch ran out of memory, on the CPU or on a device.

    By name and message: a command that never needs torch does not import it for this.
    """
    if type(error).__name__ == "OutOfMemoryError":
        return True
    message = str(error)  # of the CPU's allocator, and of Apple's GPUs
    said = "can't allocate memory" in message or "out of memory" in message
    return isinstance(error, RuntimeError) and said


def file_error(location: str, error: OSError) -> DataError:
    """Return the error of a failed read: ImageError if the file itself is at fault.

    Args:
        location: names the file in the message.
        error: of the system.
    """
    kind = ImageError if error.errno in OF_THE_FILE else DataError
    reason = f"{error.strerror or error} (errno {error.errno})"
    return kind(f"{location}: expected a readable file, got {reason}")


def raise_unless_own(error: Exception, location: str) -> None:
    """Raise errors that are not the fault of the decoded or searched image.

    Args:
        error: of a decoder or a search. One of the system has a number; decoders raise ``OSError``
            without one for damaged files.
        location: names the image in the message.

    Raises:
        KeyboardInterrupt: if the error was made of one.
        DataError: for want of memory, and for a disk or network that fails.
    """
    raise_if_interrupted(error)
    # Pillow's decoders have no other way to say it.
    if isinstance(error, MemoryError) or "out of memory" in str(error):
        message = f"{location}: {NO_MEMORY}"
        raise DataError(message) from error
    if isinstance(error, OSError) and error.errno is not None:
        failure = file_error(location, error)
        if not isinstance(failure, ImageError):
            raise failure from error
