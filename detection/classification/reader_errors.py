"""What went wrong in the processes that read images, in one line."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from detection.errors import DataError
from detection.io.interrupts import raise_if_interrupted

_SHARED = Path("/dev/shm")  # where torch passes tensors between processes


@contextlib.contextmanager
def explained_readers() -> Iterator[None]:
    """Turn the failure of a reading process of ``torch.utils.data`` into a DataError.

    Raises:
        DataError: naming the image that could not be read; or, where a process was killed or
            found no shared memory, what to do.
    """
    try:
        yield
    except DataError as error:
        if not str(error).startswith("Caught "):
            raise
        last = str(error).strip().splitlines()[-1]
        raise type(error)(last.partition(": ")[2]) from error
    except (RuntimeError, OSError) as error:
        raise_if_interrupted(error)
        if not _is_of_a_reader(error):
            raise
        message = (
            f"pretrain.workers: expected processes that read images, got one that was killed or "
            f"found no shared memory ({_free()}); start the container with --ipc=host or a larger "
            "--shm-size, or set pretrain.workers 0"
        )
        raise DataError(message) from error


def _is_of_a_reader(error: RuntimeError | OSError) -> bool:
    text = str(error)
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC and _is_shared(error)
    return "DataLoader worker" in text or "shared memory" in text or "torch_" in text or full


def _is_shared(error: OSError) -> bool:
    """Return True unless the error names a file that is not in the shared memory."""
    return str(error.filename or _SHARED).startswith(str(_SHARED))


def _free() -> str:
    try:
        return f"{_SHARED} has {shutil.disk_usage(_SHARED).free:,} bytes left"
    except OSError:
        return f"there is no {_SHARED}"
