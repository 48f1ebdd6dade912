"""Photographs without annotations: files and folders that somebody names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detection.data.images import EXTENSIONS
from detection.errors import DataError


def list_images(inputs: Sequence[Path]) -> list[Path]:
    """Give the image files among ``inputs`` and, sorted, those directly inside its folders.

    A file is taken whatever its name; in a folder the extension decides.

    Raises:
        DataError: for a path that is not there, and if no image is left.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = (f for f in path.iterdir() if f.suffix.lower() in EXTENSIONS and f.is_file())
            found += sorted(inside)
        elif path.exists():
            found.append(path)
        else:
            message = f"{path}: expected an image or a folder of images, got no such file"
            raise DataError(message)
    if not found:
        places = ", ".join(str(path) for path in inputs) or "nothing"
        message = f"{places}: expected images ({' '.join(EXTENSIONS)}), got none"
        raise DataError(message)
    return found
