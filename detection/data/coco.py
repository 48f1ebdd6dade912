"""Read a COCO JSON file and the images it names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from detection.data.annotations import read_all
from detection.data.assemble import assemble
from detection.data.coco_examine import examine_coco, twins
from detection.data.coco_file import (
    CocoFile,
    Identifier,
    category_ids,
    image_folder,
    open_coco,
)
from detection.data.issues import Allowed, Rules, stop_at
from detection.structures import CocoTerms, Dataset

__all__ = ["category_ids", "examine_coco", "read_coco"]


def read_coco(
    images: Path,
    annotations: Path,
    *,
    class_names: Sequence[str] = (),
    strict: bool = False,
    ignore_unknown_classes: bool = False,
    allow: Collection[Allowed] = (),
    max_skipped: float = 0.01,
) -> Dataset:
    """Read every image of a COCO file, with or without objects.

    Labels run from 0 whatever the category identifiers are; ``category_ids`` gives the way back.
    Crowds become difficult objects, counted in the notes: VOC's measure then neither asks for them
    nor punishes finding them, and COCO's measures how far a detection lies in them.

    Args:
        images: the folder of the images; names in the file may contain folders below it. Images
            that are not there are looked for beside the JSON file, see ``image_folder``.
        annotations: the JSON file, or its name in the folder of the images.
        class_names: label order; empty takes the categories that have objects, by identifier.
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
    coco = open_coco(images, annotations)
    return read_tables(coco, images, coco.path.stem, class_names, rules)


def read_tables(
    coco: CocoFile, images: Path, split: str, class_names: Sequence[str], rules: Rules
) -> Dataset:
    """Return the data set of tables that are read already.

    Args:
        coco: the tables.
        images: the folder of the images, see ``image_folder``.
        split: the list's name, or its file.
        class_names: label order; empty takes the categories that have objects, by identifier.
        rules: what stops the reading.

    Raises:
        DataError: at the first fault that is not to be left out or mended.
    """
    own = coco.path.stem
    split = own if Path(split).suffix == ".json" else split
    name = own if split == own else f"{images.resolve().name} {split}"
    images = image_folder(coco, images)
    stop_at((*coco.issues, *twins(coco, images)))
    names = tuple(class_names) or coco.used_names()
    examined = read_all(examine_coco(coco, images, coco.images, rules, known=names))
    dataset = assemble(name, split, examined, coco.issues, names, rules)
    return replace(dataset, coco=terms_of(coco, names))


def terms_of(coco: CocoFile, class_names: Sequence[str]) -> CocoTerms:
    """Return what a file calls its images and these classes, and its objects of them.

    An object without area is none, as for the reader. Objects are numbered from 1 where the file
    does not give each a number.
    """
    own = {name: identifier for identifier, name in coco.categories.items()}
    fresh = fresh_ids(own.values(), len(class_names))
    category_ids = tuple(own[name] if name in own else next(fresh) for name in class_names)
    known = set(category_ids)
    rows = [row for row in coco.annotations if row["category_id"] in known and _has_area(row)]
    if not all(isinstance(row["id"], int) for row in rows):
        rows = [{**row, "id": number} for number, row in enumerate(rows, start=1)]
    return CocoTerms(
        image_ids={str(image.image_id): image.image_id for image in coco.images},
        category_ids=category_ids,
        annotations=tuple(rows),
        lacking=frozenset(label for label, name in enumerate(class_names) if name not in own),
    )


def narrowed(terms: CocoTerms, labels: Sequence[int]) -> CocoTerms:
    """Return the terms of some classes only, relabelled in their order."""
    category_ids = tuple(terms.category_ids[label] for label in labels)
    rows = tuple(row for row in terms.annotations if row["category_id"] in category_ids)
    lacking = frozenset(new for new, label in enumerate(labels) if label in terms.lacking)
    return replace(terms, category_ids=category_ids, annotations=rows, lacking=lacking)


def fresh_ids(taken: Iterable[Identifier], count: int) -> Iterator[int]:
    """Return numbers for classes that a file does not have, beyond all that it has."""
    numbers = [value for value in taken if isinstance(value, int)]
    start = max(numbers, default=0) + 1
    return iter(range(start, start + count))


def _has_area(row: Mapping[str, Any]) -> bool:
    return bool(row["bbox"][2] > 0 and row["bbox"][3] > 0)
