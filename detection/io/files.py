"""Files that are never half written: temporary file, fsync, rename; and a lock for a folder."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import math
import os
import platform
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from detection.errors import DataError, ImageError
from detection.io.image_errors import file_error
from detection.io.reading import require_plain

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_CHUNK = 1 << 20
_DAY = 24 * 3600
_STARTED = time.time()


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file so that at every moment either the old content or the new one is there.

    Missing parent folders are made.

    Raises:
        DataError: where the disk is full or the folder cannot be written; the old file stays.
    """
    path = Path(path)
    # In the same folder: a rename is atomic only within one file system. The name tells whose it
    # is, so that only what its writer has abandoned is cleaned up.
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            # The content has to be on the disk before the name is: a power failure after the rename
            # could otherwise leave an empty file where the old one was.
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:  # an interrupt leaves nothing behind either
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise explain(error, path, len(data)) from error
        raise


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill, which takes the place of an empty or missing one when all is done.

    What killed writers left of the same folder is removed first.
    """
    path = Path(path)
    _remove_leftovers_of(path)
    partial = _temporary(path)
    try:
        partial.mkdir(parents=True)
        yield partial
        if path.exists():
            path.rmdir()
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, as ``write_bytes_atomic`` does."""
    write_bytes_atomic(path, text.encode())


def write_json_atomic(path: Path, value: object) -> None:
    """Write JSON atomically, as ``write_bytes_atomic`` does; NaN and infinity become ``null``."""
    write_text_atomic(path, json.dumps(to_plain(value), indent=2, ensure_ascii=False) + "\n")


def to_plain(value: Any) -> Any:
    """Turn dataclasses, paths, arrays, tensors and tuples into what JSON and YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return to_plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def remove_leftovers(folder: Path) -> int:
    """Remove the temporary files that killed writers left in a folder; return how many.

    Those of living processes stay, and those of other machines for a day.
    """
    leftovers = [path for path in Path(folder).glob(".*.tmp") if _is_left_over(path)]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def _remove_leftovers_of(path: Path) -> None:
    """Remove what killed writers left of one folder, in a folder that is not ours."""
    left = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{6}}-\d+-[0-9a-f]{{12}}\.tmp")
    for other in path.absolute().parent.glob(".*.tmp"):
        if left.fullmatch(other.name) and _is_left_over(other):
            shutil.rmtree(other, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Return a new name beside a path, which says whose it is."""
    return path.with_name(f".{path.name}.{_owner()}-{uuid.uuid4().hex[:12]}.tmp")


def _owner() -> str:
    """Name this process, for the temporary files that it writes."""
    return f"{_machine()}-{os.getpid()}"


@functools.cache
def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _is_left_over(path: Path) -> bool:
    """Return whether a temporary file was abandoned by its writer."""
    machine, _, process = path.name.removesuffix(".tmp").rpartition(".")[2].partition("-")
    number = process.partition("-")[0]
    try:
        written = path.stat().st_mtime
    except FileNotFoundError:
        return False
    if machine != _machine() or not number.isdecimal() or sys.platform == "win32":
        return time.time() - written > _DAY
    if int(number) == os.getpid():
        return written < _STARTED  # by an earlier process of this number
    return not _is_alive(int(number))


def _is_alive(process: int) -> bool:
    """Return whether a process with this id runs on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def sha256_of_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content.

    Raises:
        ImageError: if the file itself cannot be read.
        DataError: if disk or network fail.
    """
    digest = hashlib.sha256()
    require_plain(path, "a readable file", ImageError)
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise file_error(str(path), error) from error
    return digest.hexdigest()


def sha256_of_bytes(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def slug(name: str) -> str:
    """Return a file name for any text: itself if safe, else its safe part and a hash."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._")[:60]
    if safe == name:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe or 'class'}-{digest}"


class FolderLock:
    """One process at a time in a folder.

    The operating system drops the lock when its process dies, however it dies: a lock file that is
    left over stops nobody.
    """

    def __init__(self, folder: Path) -> None:
        import filelock

        self._folder = Path(folder)
        self._path = self._folder / ".lock"
        # long enough to see that the last owner has just removed the file
        self._lock = filelock.FileLock(self._path, timeout=0.2)

    def __enter__(self) -> FolderLock:
        """Take the lock.

        Raises:
            DataError: if another process holds it; the message names its process id.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            if sys.platform != "win32":  # there nobody else could read it
                self._path.write_text(f"{os.getpid()}\n", encoding="utf-8")
        except TimeoutError as error:
            message = (
                f"{self._folder}: locked by pid {self._owner()}, another run is using this folder; "
                "wait for it or choose another folder"
            )
            raise DataError(message) from error
        except OSError as error:
            self._lock.release()
            raise explain(error, self._path, 0) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the lock file, then let go of it."""
        if sys.platform != "win32":  # Windows removes it with the lock
            # Before the lock is let go: afterwards the file may already be the next owner's.
            self._path.unlink(missing_ok=True)
        self._lock.release()

    def _owner(self) -> str:
        """Return the process id that the owner wrote, if it has."""
        try:
            return (
                self._path.read_text(encoding="utf-8", errors="replace")[:64].strip() or "unknown"
            )
        except OSError:
            return "unknown"


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets folders be opened."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size_limit() -> str:
    """Name what limits the size of a file: this process's limit, or else the file system."""
    with contextlib.suppress(ImportError):  # Windows has none
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        if limit != resource.RLIM_INFINITY:
            return f"a limit of {limit:,} bytes"
    return "the file system's limit"


def explain(error: OSError, path: Path, need: int) -> DataError:
    """Say in one line why a file could not be written."""
    if error.errno == errno.EFBIG:
        return DataError(
            f"{path}: expected to write {need:,} bytes, got {_size_limit()} on one file; raise it "
            "(ulimit -f) or choose another file system"
        )
    if error.errno not in _NO_SPACE:
        return DataError(f"{path}: cannot be written: {error.strerror or error}")
    try:
        have = f"{shutil.disk_usage(path.parent).free:,}"
    except OSError:
        have = "an unknown number of"
    return DataError(
        f"{path}: no space: need {need:,} bytes, have {have}; free some space or choose "
        "another folder"
    )
