"""What the label files of several data sets call their images and classes, as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detection.data.coco import fresh_ids
from detection.data.coco_file import Identifier
from detection.structures import CocoTerms, Dataset, Record


def joined_terms(
    parts: Sequence[Dataset],
    kept: Sequence[Sequence[Record]],
    renamed: Sequence[Sequence[Record]],
    class_names: Sequence[str],
) -> CocoTerms | None:
    """Return the terms of all label files together; None where a part has none.

    An image has its file's identifier unless it is renamed, then its new name. Classes have that of
    the files; where these disagree, their place in the class list, from 1.

    Args:
        parts: in order.
        kept: the images that remain of each, as the part calls them.
        renamed: the same images as the whole calls them.
        class_names: of the whole.
    """
    own = [part.coco for part in parts if part.coco is not None]
    if len(own) < len(parts):
        return None
    known = _known_ids(parts)
    numbered = tuple(range(1, len(class_names) + 1))
    category_ids = common_category_ids(parts, class_names) or numbered
    category_of = dict(zip(class_names, category_ids, strict=True))
    image_ids: dict[str, Identifier] = {}
    rows: list[dict[str, Any]] = []
    for part, terms, before, after in zip(parts, own, kept, renamed, strict=True):
        new_ids: dict[Identifier, Identifier] = {}
        for old, new in zip(before, after, strict=True):
            its_id = terms.image_ids[old.image_id]
            new_ids[its_id] = its_id if new.image_id == old.image_id else new.image_id
            image_ids[new.image_id] = new_ids[its_id]
        categories = {
            identifier: category_of[name]
            for name, identifier in zip(part.class_names, terms.category_ids, strict=True)
        }
        rows += _rows(terms, new_ids, categories)
    if len({row["id"] for row in rows}) < len(rows):
        rows = [{**row, "id": number} for number, row in enumerate(rows, start=1)]
    return CocoTerms(
        image_ids=image_ids,
        category_ids=category_ids,
        annotations=tuple(rows),
        lacking=frozenset(label for label, name in enumerate(class_names) if name not in known),
    )


def common_category_ids(
    parts: Sequence[Dataset], class_names: Sequence[str]
) -> tuple[Identifier, ...] | None:
    """Return the identifier that all files have for each class; None where they disagree.

    Args:
        parts: all with terms.
        class_names: to name; those that no file has get numbers beyond.
    """
    known = _known_ids(parts)
    one = {name: next(iter(ids)) for name, ids in known.items() if len(ids) == 1}
    if len(one) < len(known) or len(set(one.values())) < len(one):
        return None
    fresh = fresh_ids(one.values(), len(class_names))
    return tuple(one[name] if name in one else next(fresh) for name in class_names)


def _known_ids(parts: Sequence[Dataset]) -> dict[str, set[Identifier]]:
    """Return the identifiers that the files have for each class."""
    known: dict[str, set[Identifier]] = {}
    for part in parts:
        if part.coco is not None:
            pairs = zip(part.class_names, part.coco.category_ids, strict=True)
            for label, (name, identifier) in enumerate(pairs):
                if label not in part.coco.lacking:
                    known.setdefault(name, set()).add(identifier)
    return known


def _rows(
    terms: CocoTerms,
    image_ids: Mapping[Identifier, Identifier],
    category_ids: Mapping[Identifier, Identifier],
) -> list[dict[str, Any]]:
    """Return a file's objects on the images that remain, in the new terms."""
    return [
        {
            **row,
            "image_id": image_ids[row["image_id"]],
            "category_id": category_ids[row["category_id"]],
        }
        for row in terms.annotations
        if row["image_id"] in image_ids
    ]
