"""Images without annotations: files and folders named by the user."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from detection.data.image_files import EXTENSIONS, is_image_name
from detection.errors import DataError


def name_images(inputs: Sequence[Path], paths: Sequence[Path]) -> dict[Path, str]:
    """Return a unique identifier for each image: its path from the argument that named it.

    The extension is left out where no two are alike without it. Where two arguments hold images of
    one name, all have their paths as given.

    Args:
        inputs: files and folders, as for ``list_images``.
        paths: what ``list_images`` found there.
    """
    folders = {path for path in inputs if path.is_dir()}
    inside = {path: path.relative_to(path.parent).as_posix() for path in paths}
    for path in paths:
        above = next((folder for folder in path.parents if folder in folders), path.parent)
        inside[path] = path.relative_to(above).as_posix()
    stems = {path: name.removesuffix(path.suffix) for path, name in inside.items()}
    for names in (stems, inside):
        if len(set(names.values())) == len(names):
            return names
    return {path: path.as_posix() for path in paths}


def list_images(inputs: Sequence[Path]) -> list[Path]:
    """Return the image files in ``inputs`` and, sorted, those directly inside its folders.

    A file is taken whatever its name; in a folder, and of what a pattern (``**/*.jpg``) matches,
    the extension decides, and hidden files are passed over. One that is named twice is taken once.

    Raises:
        DataError: for a path that is not there, and if no image is left.
    """
    paths: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = (f for f in path.iterdir() if is_image_name(f.name) and f.is_file())
            paths += sorted(inside)
        elif path.exists():
            paths.append(path)
        elif glob.has_magic(str(path)):
            found = map(Path, glob.iglob(str(path), recursive=True))  # noqa: PTH207 - a pattern may be absolute
            paths += sorted(f for f in found if is_image_name(f.name) and f.is_file())
        else:
            message = f"{path}: expected an image or a folder of images, got no such file"
            raise DataError(message)
    if not paths:
        places = ", ".join(str(path) for path in inputs) or "nothing"
        message = f"{places}: expected images ({' '.join(EXTENSIONS)}), got none"
        raise DataError(message)
    return list(dict.fromkeys(paths))
