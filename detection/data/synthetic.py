"""Write a synthetic data set as a folder in VOC layout: something to train on in a minute."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from detection.data.scenes import SCENE_CLASSES, Scene, draw_scene
from detection.data.voc_xml import VocObject, write_voc_annotation
from detection.errors import DataError
from detection.io.files import whole_folder, write_json_atomic
from detection.io.progress import track
from detection.io.reading import read_plain
from detection.structures import Size

_LOG = logging.getLogger(__name__)
_STAMP = "synthetic.json"
_FOLDERS = ("JPEGImages", "Annotations", "ImageSets/Main", "ImageSets")
_VERSION = 1
_EMPTY = 0.03
_WHOLE = 0.95
_PORTRAIT = 0.25


def synthesize(
    root: Path,
    *,
    train_images: int = 300,
    test_images: int = 100,
    seed: int = 0,
    min_size: Size = (240, 320),
    max_size: Size = (375, 500),
    max_objects: int = 5,
    overwrite: bool = False,
) -> None:
    """Write ``JPEGImages``, ``Annotations`` and the lists train, val, trainval and test.

    The same arguments produce the same files, and image *n* does not depend on how many there are.
    A folder that already holds the same data set is left as it is.

    Args:
        root: the new folder.
        train_images: images of trainval; every fifth is in val, the others in train.
        test_images: images of test.
        seed: decides everything.
        min_size: the smallest (height, width).
        max_size: the largest (height, width); may be exchanged for a portrait.
        max_objects: objects in an image; a few images have none.
        overwrite: draw anew in a folder that holds such a data set of other settings, as long as
            nothing was added to it or changed in it since.

    Raises:
        DataError: if the folder holds something else.
    """
    settings: dict[str, Any] = {
        "version": _VERSION,
        "train_images": train_images,
        "test_images": test_images,
        "seed": seed,
        "min_size": list(min_size),
        "max_size": list(max_size),
        "max_objects": max_objects,
        "class_names": list(SCENE_CLASSES),
    }
    if _is_done(root, settings):
        _LOG.info("%s: holds this data set already", root)
        return
    drawn = _drawn_before(root, overwrite=overwrite)
    with whole_folder(root) as partial:
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (partial / folder).mkdir(parents=True)
        total = train_images + test_images
        for number in track(range(1, total + 1), total, "synthesize"):
            rng = np.random.default_rng([seed, number])
            size = _draw_size(rng, min_size, max_size)
            num_objects = 0 if rng.uniform() < _EMPTY else int(rng.integers(1, max_objects + 1))
            _write_image(partial, f"{number:06d}", draw_scene(rng, size, num_objects=num_objects))
        _write_splits(partial, train_images, test_images)
        write_json_atomic(partial / _STAMP, settings)
        _remove(root, drawn)


def _is_done(root: Path, settings: Mapping[str, Any]) -> bool:
    """Return whether the folder already holds the data set."""
    try:
        return bool(json.loads(read_plain(root / _STAMP, "JSON")) == settings)
    except (OSError, DataError, ValueError):
        return False


def _drawn_before(root: Path, *, overwrite: bool) -> list[Path]:
    """Return the files of a data set that was drawn with other settings; none of an empty folder.

    Raises:
        DataError: if they are not to be replaced, or the folder holds something else.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return []
    files = _untouched(root)
    if files is None:
        message = f"{root}: expected a new folder, got one that holds other data; choose another"
        raise DataError(message)
    if not overwrite:
        message = (
            f"{root}: expected a new folder, got a data set that was drawn with other settings; "
            "replace it with --overwrite, or choose another folder"
        )
        raise DataError(message)
    return files


def _untouched(root: Path) -> list[Path] | None:
    """Return the files of a drawn data set; None where some are not as they were drawn.

    What was written after the list of settings, which is the last file, is somebody else's.
    """
    try:
        stamp = json.loads(read_plain(root / _STAMP, "JSON"))
        trained, total = stamp["train_images"], stamp["train_images"] + stamp["test_images"]
        drawn_at = (root / _STAMP).stat().st_mtime_ns
        found = [path for path in root.rglob("*") if path.is_symlink() or not path.is_dir()]
        changed = any(p.is_symlink() or p.stat().st_mtime_ns > drawn_at for p in found)
        names = set(_file_names(trained, total)) if total < len(found) else set()
    except (OSError, DataError, ValueError, TypeError, KeyError):
        return None
    folders = {*root.rglob("*")} - {*found}
    as_drawn = {*found} == {root / n for n in names} and folders == {root / f for f in _FOLDERS}
    return sorted(found) if as_drawn and not changed and not root.is_symlink() else None


def _file_names(train_images: int, total: int) -> Iterator[str]:
    """Yield the name of every file of a data set."""
    yield _STAMP
    for split in _splits(train_images, total - train_images):
        yield f"ImageSets/Main/{split}.txt"
    for number in range(1, total + 1):
        yield f"JPEGImages/{number:06d}.jpg"
        yield f"Annotations/{number:06d}.xml"


def _remove(root: Path, files: Sequence[Path]) -> None:
    """Remove these files and the folders that they leave empty, and nothing else."""
    for path in files:
        path.unlink()
    for folder in _FOLDERS if files else ():
        (root / folder).rmdir()


def _draw_size(rng: np.random.Generator, min_size: Size, max_size: Size) -> Size:
    low, high = np.array(min_size), np.array(max_size)
    height, width = (low + rng.uniform() * (high - low)).round().astype(int).tolist()
    return (width, height) if rng.uniform() < _PORTRAIT else (height, width)


def _write_image(folder: Path, image_id: str, scene: Scene) -> None:
    name = f"{image_id}.jpg"
    PIL.Image.fromarray(scene.pixels).save(folder / "JPEGImages" / name, quality=95)
    objects = [
        VocObject(
            number=number,
            class_name=item.class_name,
            corners=(item.box[0] + 1, item.box[1] + 1, item.box[2], item.box[3]),
            difficult=item.difficult,
            truncated=item.visible < _WHOLE,
        )
        for number, item in enumerate(scene.objects, start=1)
    ]
    height, width = scene.pixels.shape[:2]
    write_voc_annotation(
        folder / "Annotations" / f"{image_id}.xml",
        name,
        (height, width),
        objects,
        folder="synthetic",
    )


def _write_splits(folder: Path, train_images: int, test_images: int) -> None:
    for split, numbers in _splits(train_images, test_images).items():
        path = folder / "ImageSets" / "Main" / f"{split}.txt"
        path.write_text("".join(f"{number:06d}\n" for number in numbers), encoding="ascii")


def _splits(train_images: int, test_images: int) -> dict[str, Sequence[int]]:
    """Return the lists: name -> numbers of the images."""
    trainval = range(1, train_images + 1)
    return {
        "trainval": trainval,
        "train": [number for number in trainval if number % 5],
        "val": trainval[4::5],
        "test": range(train_images + 1, train_images + test_images + 1),
    }
