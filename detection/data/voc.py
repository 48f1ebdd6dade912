"""Read a split of any folder in VOC layout."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from detection.data.annotations import read_all
from detection.data.assemble import assemble
from detection.data.issues import Allowed, Rules, stop_at
from detection.data.voc_examine import examine
from detection.data.voc_folder import VocFolder, open_voc_folder
from detection.data.voc_lists import open_voc, read_split
from detection.data.voc_xml import VocObject, write_voc_annotation
from detection.structures import Dataset

__all__ = [
    "VocFolder",
    "VocObject",
    "open_voc",
    "open_voc_folder",
    "read_split",
    "read_voc",
    "write_voc_annotation",
]


def read_voc(
    root: Path | VocFolder,
    split: str,
    *,
    year: int = 0,
    class_names: Sequence[str] = (),
    strict: bool = False,
    ignore_unknown_classes: bool = False,
    allow: Collection[Allowed] = (),
    max_skipped: float = 0.01,
) -> Dataset:
    """Read one split: every listed image, with or without objects, difficult objects included.

    Args:
        root: see ``open_voc``; or what that gave.
        split: the list's name in ``ImageSets/Main``.
        year: which ``VOC<year>`` of a ``VOCdevkit``; 0 takes the only one there is.
        class_names: label order; empty takes the names in the split's annotations, sorted.
        strict: for evaluation, see ``Rules``.
        ignore_unknown_classes: leave out objects of other classes, counted, instead of stopping.
        allow: faults that do not stop a strict reading.
        max_skipped: the fraction of unreadable images that a reading that is not strict leaves out.

    Raises:
        DataError: at the first fault that is not to be left out or mended.
    """
    rules = Rules.of(
        strict=strict,
        ignore_unknown_classes=ignore_unknown_classes,
        allow=allow,
        max_skipped=max_skipped,
    )
    folder = open_voc(root, year) if isinstance(root, Path) else root
    listed = read_split(folder, split)
    stop_at(listed.issues)
    examined = read_all(examine(folder, listed.image_ids, rules, known=class_names))
    name = f"{folder.name} {split}"
    return assemble(name, split, examined, listed.issues, tuple(class_names), rules)
