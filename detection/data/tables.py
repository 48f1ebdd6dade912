"""Label files of any format as tables of images, classes and objects, found by looking."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from detection.config import DataConfig
from detection.data.coco_file import CocoFile, find_coco, find_whole_coco, open_coco
from detection.data.csv_boxes import find_csv, find_whole_csv, open_csv, open_whole_csv
from detection.data.labelme import looks_like_labelme, open_labelme
from detection.data.split import Parts, named_parts, parts_of
from detection.data.voc_folder import has_voc_layout, has_xml_pairs
from detection.data.yolo import open_whole_yolo, open_yolo
from detection.data.yolo_index import looks_like_yolo
from detection.errors import DataError
from detection.words import counted

_LOG = logging.getLogger(__name__)

Kind = Literal["voc", "coco", "yolo", "csv", "labelme"]

_TITLES = {"coco": "COCO", "yolo": "YOLO", "csv": "CSV", "labelme": "LabelMe"}
_DESCRIBED: set[tuple[Path, str]] = set()
"""Lists whose reading has been described: once a process is enough."""


def kind_of(config: DataConfig) -> Kind:
    """Return the format of the label files: the configured one, or what is there.

    ``auto`` takes the first of these that it finds below ``data.root``: a folder in VOC layout, a
    COCO file of the lists' names, images with an XML file each, a COCO file that is the only one,
    YOLO's ``data.yaml`` or ``classes.txt``, a CSV of the lists' names or the only one, LabelMe's
    JSON files. Where there is nothing, the message is VOC's.

    Args:
        config: the ``data`` section, with one root.
    """
    if config.format != "auto":
        return config.format
    root = Path(config.roots[0])
    lists: tuple[Literal["train", "test"], ...] = ("train", "test")
    splits = dict.fromkeys(name for split in lists for _, name in config.parts(split))
    if not root.is_dir() or has_voc_layout(root):
        return "voc"
    found = (find_coco(root, Path(split)) for split in splits)
    if any(path is not None and path.suffix == ".json" for path in found):
        return "coco"
    looks: dict[Kind, Callable[[Path], object]] = {
        "voc": has_xml_pairs,
        "coco": find_whole_coco,
        "yolo": looks_like_yolo,
        "csv": lambda root: find_whole_csv(root) or any(_has_csv(root, s) for s in splits),
        "labelme": looks_like_labelme,
    }
    return next((kind for kind, look in looks.items() if look(root)), "voc")


def open_tables(config: DataConfig, split: str) -> CocoFile:
    """Read a list's label files that are not VOC's.

    Where a folder brings no lists, ``trainval`` and ``test`` are made: of folders that are called
    so, or by a draw.

    Args:
        config: the ``data`` section, with one root.
        split: the list, or the COCO JSON file.

    Raises:
        DataError: if they cannot be read.
    """
    root, kind = Path(config.roots[0]), kind_of(config)
    whole = _open_whole(root, kind, split)
    how = ""
    if whole is None:
        tables = _READERS[kind](root, split)
    else:
        parts, how = divide(whole, root, config.lists)
        tables = _only(whole, root, parts, split)
    if (config.format == "auto" or how) and (root, split) not in _DESCRIBED:
        _DESCRIBED.add((root, split))
        objects = sum(len(found) for found in tables.objects.values())
        message = "%s: %s read as %s, from %s%s: %s, %s"
        how = how and f", {how}"
        counts = (counted(len(tables.images), "image"), counted(objects, "object"))
        _LOG.info(message, root, split, _TITLES[kind], tables.path, how, *counts)
    return tables


def drawn_tables(config: DataConfig) -> Parts | None:
    """Return the lists that were drawn of label files that bring none; None if none were.

    Args:
        config: the ``data`` section, with one root.

    Raises:
        DataError: if they cannot be read.
    """
    root = Path(config.roots[0])
    whole = _open_whole(root, kind_of(config), "test")
    if whole is None or named_parts(_names(whole)) is not None:
        return None
    return divide(whole, root, config.lists)[0]


def divide(tables: CocoFile, root: Path, lists: str) -> tuple[Parts, str]:
    """Return the lists of label files that bring none, file names, and how they came about.

    Args:
        tables: of all images.
        root: the folder.
        lists: the file of lists that were drawn before; empty draws.

    Raises:
        DataError: if that file cannot be read, or an image that it names is gone.
    """
    parts = named_parts(_names(tables))
    if parts is not None:
        return parts, "divided by its folders"
    objects = {
        image.file_name: {
            (item.class_name, item.difficult) for item in tables.objects.get(image.image_id, ())
        }
        for image in tables.images
    }
    return parts_of(lists, root, objects)


def _names(tables: CocoFile) -> dict[str, str]:
    return {image.file_name: image.file_name for image in tables.images}


def _only(tables: CocoFile, root: Path, parts: Parts, split: str) -> CocoFile:
    """Return the tables of one list.

    Raises:
        DataError: if there is no such list.
    """
    if split not in parts:
        message = (
            f"{root}: expected one of the lists {', '.join(sorted(parts))}, got {split!r}; set "
            "data.train_split and data.test_split"
        )
        raise DataError(message)
    kept = frozenset(parts[split])
    images = tuple(image for image in tables.images if image.file_name in kept)
    ids = {image.image_id for image in images}
    return replace(
        tables,
        images=images,
        objects={key: found for key, found in tables.objects.items() if key in ids},
        annotations=tuple(row for row in tables.annotations if row["image_id"] in ids),
        # What is only counted is counted once, with the list to train on.
        issues=tuple(i for i in tables.issues if split == "trainval" or i.action == "stop"),
    )


def _open_whole(root: Path, kind: Kind, split: str) -> CocoFile | None:
    """Return the tables of all images of a folder without lists, None of one that has them."""
    if kind == "labelme":
        return open_labelme(root)
    if split not in {"trainval", "test"} or kind == "voc":
        return None
    if kind == "coco":
        path = find_whole_coco(root)
        return None if path is None else open_coco(root, path)
    return open_whole_yolo(root) if kind == "yolo" else open_whole_csv(root)


_READERS: dict[Kind, Callable[[Path, str], CocoFile]] = {
    "coco": lambda root, split: open_coco(root, Path(split)),
    "yolo": open_yolo,
    "csv": open_csv,
}


def _has_csv(root: Path, split: str) -> bool:
    try:
        find_csv(root, split)
    except DataError:
        return False
    return True
