"""Extract a tar archive that nobody vouches for: plain files and folders only, bounded."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from detection.errors import DataError
from detection.io.progress import track

MAX_BYTES = 16 << 30
"""The extracted files may take this much together; VOC2012 takes 2 GB."""

MAX_MEMBERS = 500_000
"""An archive may have this many members; VOC2012 has 60,000."""


def extract_tar(
    archive: Path,
    folder: Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
) -> int:
    """Extract an uncompressed tar archive and say how many files it held.

    All members are checked before the first is written: links, devices, absolute names and ``..``
    are refused. Owners and permissions are not taken over.

    Args:
        archive: the file.
        folder: where to; it should be new.
        max_bytes: limit of all extracted files together.
        max_members: limit of their number.

    Raises:
        DataError: if the archive is damaged or holds what is refused.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            members = _checked_members(tar, archive, max_bytes, max_members)
            _require_end(tar, archive)
            for member, path in track(members, len(members), f"extract {archive.name}"):
                _extract_member(tar, member, folder / path)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        message = f"{archive}: expected a tar archive that can be extracted, got: {error}"
        raise DataError(message) from error
    return len(members)


def _checked_members(
    tar: tarfile.TarFile, archive: Path, max_bytes: int, max_members: int
) -> list[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Return the archive's files with their relative paths.

    Raises:
        DataError: if a member is refused.
    """
    files = []
    total = 0
    for number, member in enumerate(tar, start=1):
        path = _relative_path(member.name)
        total += max(member.size, 0)
        reason = ""
        if path is None:
            reason = "a name inside the folder"
        elif not (member.isreg() or member.isdir()):
            reason = "a plain file or folder, got a link or device"
        elif total > max_bytes:
            reason = f"at most {max_bytes:,} bytes in all, got more"
        elif number > max_members:
            reason = f"at most {max_members:,} members, got more"
        if reason:
            message = f"{archive}: member {member.name[:80]!r}: expected {reason}; not extracted"
            raise DataError(message)
        if path is not None and member.isreg():
            files.append((member, path))
    return files


def _require_end(tar: tarfile.TarFile, archive: Path) -> None:
    """Make sure that the last member is followed by the block of zeros that ends an archive.

    Raises:
        ValueError: if it is not; ``tarfile`` takes a header cut in two for the end.
    """
    with archive.open("rb") as file:
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            message = "an end in the middle of a member"
            raise ValueError(message)


def _relative_path(name: str) -> PurePosixPath | None:
    """Return a member's relative path, or None if it may escape the target folder."""
    path = PurePosixPath(name)
    unsafe = path.is_absolute() or ".." in path.parts or any(c in name for c in "\\:\0")
    return None if unsafe else path


def _extract_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tar.extractfile(member) or io.BytesIO() as source, path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
