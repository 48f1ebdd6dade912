"""What ``detect`` is given: images, folders, patterns, videos, addresses and cameras."""

from __future__ import annotations

import contextlib
import functools
import re
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detection.data.image_files import is_image_name
from detection.data.transfer import Patience, download
from detection.io.files import slug

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
"""File name endings, in lower case, of what is taken for a video."""

PATIENCE = Patience(attempts=2, timeout=20.0, max_bytes=1 << 30, max_seconds=300.0)
"""With addresses: how often, how long without data, how much, and how long altogether."""

_CAMERA = re.compile(r"(?:camera:)?(\d{1,3})")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera of this machine.

    Attributes:
        index: its number, from 0.
    """

    index: int

    @property
    def stem(self) -> str:
        """What its results are called."""
        return f"camera-{self.index}"

    def __str__(self) -> str:
        """The word that names it on the command line."""
        return f"camera:{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What is there to look at.

    Attributes:
        images: files, folders and patterns.
        videos: files and cameras.
        called: the address of each file that was fetched.
    """

    images: tuple[Path, ...]
    videos: tuple[Path | Camera, ...]
    called: dict[Path, str]


def is_video(path: Path) -> bool:
    """Return whether a path's name is that of a video."""
    return path.suffix.lower() in VIDEOS


@contextlib.contextmanager
def open_inputs(words: Sequence[str], patience: Patience = PATIENCE) -> Iterator[Inputs]:
    """Tell images, videos, addresses and cameras apart; fetch what is elsewhere, for as long.

    A number is a camera unless a file has that name.

    Args:
        words: as on the command line.
        patience: with addresses.

    Raises:
        DataError: naming an address that cannot be fetched.
    """
    with contextlib.ExitStack() as stack:

        @functools.cache
        def folder() -> Path:
            # at the first address: a command without one leaves nothing behind when it is killed
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="detection")))

        images: list[Path] = []
        videos: list[Path | Camera] = []
        called: dict[Path, str] = {}
        for number, word in enumerate(words):
            path = Path(word)
            if _SCHEME.match(word):
                path = folder() / str(number) / file_name(word)
                path.parent.mkdir()
                download(word, path, patience=patience)
                called[path] = word
            elif (camera := _CAMERA.fullmatch(word)) and not path.exists():
                videos.append(Camera(index=int(camera[1])))
                continue
            (videos if is_video(path) else images).append(path)
        yield Inputs(images=tuple(images), videos=tuple(videos), called=called)


def file_name(url: str) -> str:
    """Return a name for what an address serves: the last part of its path, made safe."""
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    path = Path(name)
    if is_image_name(name) or is_video(path):
        return f"{slug(path.stem)}{path.suffix.lower()}"
    return slug(name) if name else "image"
