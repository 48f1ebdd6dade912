"""Fetch a large file: resumed where it broke off, from several mirrors, checked at the end."""

from __future__ import annotations

import hashlib
import http.client
import logging
import math
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from detection.errors import DataError
from detection.io.progress import track
from detection.words import counted

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 18
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to try.

    Attributes:
        attempts: for each address.
        pause: seconds before the second attempt, twice as many before the third, and so on.
        timeout: seconds without any data.
        max_bytes: a longer file is not accepted.
        max_seconds: nor one that takes longer to arrive, however steadily.
    """

    attempts: int = 3
    pause: float = 1.0
    timeout: float = 60.0
    max_bytes: int = 8 << 30
    max_seconds: float = math.inf


class _BrokenOffError(Exception):
    """What has arrived is good, but there is more."""


class _UselessError(Exception):
    """This address does not serve the file."""


def md5_of_file(path: Path) -> str:
    """Return the hexadecimal MD5 of a file, the checksum that archives are published with.

    Raises:
        DataError: if the file cannot be read.
    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        message = f"{path}: expected a readable file, got {error.strerror}"
        raise DataError(message) from error
    return digest.hexdigest()


def fetch(urls: Sequence[str], target: Path, *, md5: str, patience: Patience | None = None) -> None:
    """Make sure that ``target`` is the file with the given MD5.

    What has arrived waits in ``<target>.part``, and the next attempt, of this call or of a later
    one, goes on from there.

    Args:
        urls: http or https addresses, tried in this order.
        target: the file; one that is right already is left as it is.
        md5: of the whole content.
        patience: how long to try.

    Raises:
        DataError: naming every address with what went wrong there.
    """
    if target.is_file() and md5_of_file(target) == md5:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for url in urls:
        reason = _fetch_from(url, part, md5, patience or Patience())
        if not reason:
            part.replace(target)
            return
        _LOG.warning("%s: %s", url, reason)
        reasons.append(f"{url}: {reason}")
    message = (
        f"{target}: expected a download, got none ({'; '.join(reasons)}); try again, name a mirror "
        "with --mirror, or pass a file that you have with --archive"
    )
    raise DataError(message)


def download(url: str, target: Path, *, patience: Patience | None = None) -> None:
    """Write what an address serves to a file; of no known content, unlike that of `fetch`.

    Args:
        url: an http or https address.
        target: the file.
        patience: how long to try, and how much to accept.

    Raises:
        DataError: naming the address with what went wrong there.
    """
    part, patience = target.with_name(f"{target.name}.part"), patience or Patience()
    reason = ""
    for _ in _attempts(patience):
        try:
            _transfer(url, part, patience)
        except _UselessError as error:
            reason = str(error)
            break
        except _BrokenOffError as error:
            reason = str(error)
            continue
        part.replace(target)
        return
    message = f"{url}: expected a file to download, got none ({reason})"
    raise DataError(message)


def _attempts(patience: Patience) -> Iterator[int]:
    """Yield the number of each attempt, after its pause."""
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(patience.pause * 2 ** (attempt - 1))
        yield attempt


def _fetch_from(url: str, part: Path, md5: str, patience: Patience) -> str:
    """Try one address; return the reason of the failure, empty if the file is there."""
    reason = ""
    for _ in _attempts(patience):
        resumed = part.exists() and part.stat().st_size > 0
        try:
            _transfer(url, part, patience)
        except _UselessError as error:
            return str(error)
        except _BrokenOffError as error:
            reason = str(error)
            continue
        got = md5_of_file(part)
        if got == md5:
            return ""
        reason = f"expected md5 {md5}, got {got} ({part.stat().st_size:,} bytes)"
        part.unlink()
        if not resumed:  # the beginning may have come from elsewhere, otherwise the end is no use
            return reason
    return reason


def _transfer(url: str, part: Path, patience: Patience) -> None:
    """Append to ``part`` what is missing, or write it from the start.

    Raises:
        _UselessError: if the address answers with an error.
        _BrokenOffError: if not everything arrived.
    """
    if not url.startswith(("http://", "https://")):
        message = "expected an http or https address"
        raise _UselessError(message)
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "detection"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=patience.timeout) as response:
            if response.status != _PARTIAL_CONTENT:
                start = 0
            _receive(response, part, start, patience)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != _RANGE_NOT_SATISFIABLE:
            message = f"HTTP {error.code} {error.reason}"
            raise _UselessError(message) from error
    except (OSError, http.client.HTTPException) as error:
        message = (
            f"no connection ({getattr(error, 'reason', None) or error or type(error).__name__})"
        )
        raise _BrokenOffError(message) from error


def _receive(
    response: http.client.HTTPResponse, part: Path, start: int, patience: Patience
) -> None:
    expected, max_bytes = response.length, patience.max_bytes
    if start + (expected or 0) > max_bytes:
        message = f"expected at most {max_bytes:,} bytes, got {start + (expected or 0):,}"
        raise _UselessError(message)
    free = shutil.disk_usage(part.parent).free
    if expected is not None and expected > free:
        message = f"{part.parent}: no space: need {expected:,} bytes, have {free:,}; make room"
        raise DataError(message)
    received = 0
    # Reading a whole chunk waits for all of it; where seconds count, what came is taken at once.
    hurried = math.isfinite(patience.max_seconds)
    total = None if expected is None or hurried else -(-expected // _CHUNK)
    read = response.read1 if hurried else response.read
    end = time.monotonic() + patience.max_seconds
    with part.open("ab" if start else "wb") as file:
        for chunk in track(_chunks(read), total, part.name.removesuffix(".part")):
            received += len(chunk)
            if time.monotonic() > end:
                seconds = counted(patience.max_seconds, "second", spec="g")
                message = f"expected all within {seconds}, got {start + received:,} bytes"
                raise _UselessError(message)
            if start + received > max_bytes:
                message = f"expected at most {max_bytes:,} bytes, got more"
                raise _UselessError(message)
            _write(file, chunk)
    if expected is not None and received < expected:
        message = f"broke off after {start + received:,} of {start + expected:,} bytes"
        raise _BrokenOffError(message)


def _write(file: BinaryIO, chunk: bytes) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        message = f"{file.name}: no space: {error.strerror}; make room and try again"
        raise DataError(message) from error


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while chunk := read(_CHUNK):
        yield chunk
