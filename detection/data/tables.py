"""Label files of any format as tables of images, classes and objects, found by looking."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from detection.config import DataConfig
from detection.data.coco_file import CocoFile, find_coco, open_coco
from detection.data.csv_boxes import find_csv, open_csv
from detection.data.voc_folder import has_voc_layout, has_xml_pairs
from detection.data.yolo import open_yolo
from detection.data.yolo_index import looks_like_yolo
from detection.errors import DataError

_LOG = logging.getLogger(__name__)

Kind = Literal["voc", "coco", "yolo", "csv"]

_TITLES = {"coco": "COCO", "yolo": "YOLO", "csv": "CSV"}
_DESCRIBED: set[tuple[Path, str]] = set()
"""Lists whose reading has been described: once a process is enough."""


def kind_of(config: DataConfig) -> Kind:
    """Return the format of the label files: the configured one, or what is there.

    ``auto`` takes the first of these that it finds below ``data.root``: a folder in VOC layout, a
    COCO file of the lists' names, images with an XML file each, YOLO's ``data.yaml`` or
    ``classes.txt``, a CSV of the lists' names. Where there is nothing, the message is VOC's.
    """
    if config.format != "auto":
        return config.format
    root = Path(config.root)
    splits = (config.train_split, config.test_split)
    if not root.is_dir() or has_voc_layout(root):
        return "voc"
    found = (find_coco(root, Path(split)) for split in splits)
    if any(path is not None and path.suffix == ".json" for path in found):
        return "coco"
    if has_xml_pairs(root):
        return "voc"
    if looks_like_yolo(root):
        return "yolo"
    return "csv" if any(_has_csv(root, split) for split in splits) else "voc"


def open_tables(config: DataConfig, split: str) -> CocoFile:
    """Read a list's label files that are not VOC's.

    Args:
        config: the ``data`` section.
        split: the list, or the COCO JSON file.

    Raises:
        DataError: if they cannot be read.
    """
    root, kind = Path(config.root), kind_of(config)
    readers = {"yolo": open_yolo, "csv": open_csv}
    tables = open_coco(root, Path(split)) if kind == "coco" else readers[kind](root, split)
    if config.format == "auto" and (root, split) not in _DESCRIBED:
        _DESCRIBED.add((root, split))
        objects = sum(len(found) for found in tables.objects.values())
        message = "%s: %s read as %s, from %s: %d images, %d objects"
        _LOG.info(message, root, split, _TITLES[kind], tables.path, len(tables.images), objects)
    return tables


def _has_csv(root: Path, split: str) -> bool:
    try:
        find_csv(root, split)
    except DataError:
        return False
    return True
