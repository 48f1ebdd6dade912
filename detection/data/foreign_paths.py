"""Paths in label files that were written on another machine, found among the images here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")


def without_prefix(name: str) -> str:
    """Return a file name without the eight digits that Label Studio puts before an upload's.

    Examples:
        >>> without_prefix("3f2a1b4c-cat.jpg"), without_prefix("cat.jpg")
        ('cat.jpg', 'cat.jpg')
    """
    return _PREFIX.sub("", name)


def parts_of_path(text: str) -> list[str]:
    r"""Return the folders and the file of a path, wherever it starts.

    Args:
        text: a path of any system, relative or not, or the address of a server, a bucket or Label
            Studio's local storage.

    Examples:
        >>> parts_of_path("C:\\photos\\a b.jpg")
        ['photos', 'a b.jpg']
        >>> parts_of_path("https://host/data/upload/1/a%20b.jpg?token=1")
        ['data', 'upload', '1', 'a b.jpg']
        >>> parts_of_path("/data/local-files/?d=set/a.jpg")
        ['set', 'a.jpg']
    """
    text = text.replace("\\", "/")
    if "://" in text or "?d=" in text:
        try:
            address = urlsplit(text)
        except ValueError:
            return []
        given = parse_qs(address.query).get("d")
        text = given[0] if given else unquote(address.path)
    text = re.sub(r"^[A-Za-z]:/", "", text)
    return [part for part in text.split("/") if part not in {"", ".", ".."} and "\0" not in part]


class Finder:
    """Finds images by the end of their path, all of them in one folder.

    Args:
        places: folders that may hold them, the likeliest first.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = tuple(places)

    def find(self, text: str) -> str | None:
        """Return an image's path from its folder, by as much of its path as is there.

        The folder of the first image that is found is that of the others.

        Args:
            text: the path or address in the label file.
        """
        parts = parts_of_path(text)
        for place in self.places:
            for start in range(len(parts)):
                folders, name = parts[start:-1], parts[-1]
                for own in dict.fromkeys((name, without_prefix(name))):
                    path = "/".join([*folders, own])
                    if _is_file(place / path):
                        self.places = (place,)
                        return path
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
