"""Extract a tar archive that nobody vouches for: plain files and folders only, bounded."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

from detection.errors import DataError
from detection.io.progress import track
from detection.io.reading import odd_kind

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
    if odd := odd_kind(archive):
        message = f"{archive}: expected a tar archive, got {odd}"
        raise DataError(message)
    try:
        with tarfile.open(archive, "r:") as tar:
            members = _checked_members(tar, archive, max_bytes, max_members)
            _require_end(tar, archive)
            shown = track(members, len(members), f"extract {archive.name}")
            tar.extractall(str(folder), shown, filter=_plain)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        message = f"{archive}: expected a tar archive that can be extracted, got: {error}"
        raise DataError(message) from error
    return len(members)


def _checked_members(
    tar: tarfile.TarFile, archive: Path, max_bytes: int, max_members: int
) -> list[tarfile.TarInfo]:
    """Return the archive's files.

    Raises:
        DataError: if a member is refused.
    """
    files = []
    total = 0
    for number, member in enumerate(tar, start=1):
        total += max(member.size, 0)
        reason = ""
        if not _is_inside(member.name):
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
        if member.isreg():
            files.append(member)
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


def _is_inside(name: str) -> bool:
    """Return whether a member's name stays in the target folder, on every system."""
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or any(c in name for c in "\\:\0"))


def _plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Check a member once more, and leave its mode and time to the system."""
    return tarfile.data_filter(member, folder).replace(mode=None, mtime=None)  # type: ignore[arg-type]
