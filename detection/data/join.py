"""Several data sets as one: unique identifiers, one order of the classes, no image twice."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch

from detection.data.annotations import TWICE
from detection.data.join_terms import common_category_ids, joined_terms
from detection.data.overlap import shared_files
from detection.errors import DataError
from detection.structures import CocoTerms, Dataset, Record, Skipped

_LOG = logging.getLogger(__name__)


def join(parts: Sequence[Dataset], labels: Sequence[str], *, strict: bool) -> Dataset:
    """Return several data sets as one.

    An image that an earlier part holds too, by its place or by its content, is left out and
    counted; in a strict reading it stops, unless it is the same file. Identifiers that two parts
    share get the label of their part in front, in all parts alike. The identifiers that label files
    give images and classes stay where they are unique; a strict reading, which results follow, says
    where they do not.

    Args:
        parts: in order.
        labels: what to call each.
        strict: for evaluation, where no image may be left out.

    Raises:
        DataError: in a strict reading, for an image that two parts hold a copy of.
    """
    class_names = _common_names(parts)
    kept, left_out, listed = _without_twins(parts, strict=strict)
    ids = Counter(record.image_id for records in kept for record in records)
    clash = any(count > 1 for count in ids.values())
    renamed = [
        [
            _renamed(one, f"{label}/{one.image_id}" if clash else one.image_id, part, class_names)
            for one in own
        ]
        for part, label, own in zip(parts, labels, kept, strict=True)
    ]
    name = " + ".join(part.name for part in parts)
    terms = joined_terms(parts, kept, renamed, class_names)
    if strict:
        _say_what_results_hold(name, parts, terms, clash=clash)
    notes = sum((Counter(part.notes) for part in parts), Counter[str]())
    notes.update({TWICE: len(left_out), "duplicate in the lists": listed})
    if left_out:
        _LOG.warning("%s: %d left out (the first: %s)", TWICE, len(left_out), left_out[0].reason)
    return Dataset(
        name=name,
        split="+".join(dict.fromkeys(part.split for part in parts)),
        class_names=class_names,
        records=tuple(one for own in renamed for one in own),
        notes=dict(+notes),
        skipped=(*(entry for part in parts for entry in part.skipped), *left_out),
        coco=terms,
    )


def _say_what_results_hold(
    name: str, parts: Sequence[Dataset], terms: CocoTerms | None, *, clash: bool
) -> None:
    """Say where results in COCO's format cannot have the identifiers of the files."""
    place = "category_id is the class's place in the class list, from 1"
    if terms is None:
        if any(part.coco is not None for part in parts):
            what = "not every folder has identifiers: image_id is the image's name"
            _LOG.warning("%s: in COCO results, %s, %s", name, what, place)
        return
    if clash:
        what = "several images have one identifier: image_id has the folder in front"
        _LOG.warning("%s: in COCO results, %s", name, what)
    if common_category_ids(parts, ()) is None:
        _LOG.warning("%s: in COCO results, files number their classes apart: %s", name, place)


def _common_names(parts: Sequence[Dataset]) -> tuple[str, ...]:
    """Return the classes of all parts: in their order where it is the same, otherwise sorted."""
    names = dict.fromkeys(name for part in parts for name in part.class_names)
    same = all(part.class_names == parts[0].class_names for part in parts)
    return tuple(names) if same else tuple(sorted(names))


def _without_twins(
    parts: Sequence[Dataset], *, strict: bool
) -> tuple[list[list[Record]], list[Skipped], int]:
    """Return each part's images that no earlier part has, the copies, and how often one is listed.

    Raises:
        DataError: in a strict reading, for a copy.
    """
    kept: list[list[Record]] = []
    left_out: list[Skipped] = []
    listed = 0
    for part in parts:
        before = [record.path for records in kept for record in records]
        twins = {
            second: first for first, second in shared_files(before, [r.path for r in part.records])
        }
        copies = {second: first for second, first in twins.items() if not first.samefile(second)}
        for path, first in copies.items():
            what = f"expected an image of its own, got the same file as {first}; remove one"
            if strict:
                message = f"{path}: {what}"
                raise DataError(message)
            left_out.append(Skipped(file=str(path), kind=TWICE, reason=what))
        listed += len(twins) - len(copies)
        kept.append([record for record in part.records if record.path not in twins])
    return kept, left_out, listed


def _renamed(record: Record, image_id: str, part: Dataset, class_names: tuple[str, ...]) -> Record:
    """Return an image with its new identifier and the labels of all classes."""
    labels = torch.tensor([class_names.index(name) for name in part.class_names], dtype=torch.int64)
    truth = record.truth
    truth = replace(truth, image_id=image_id, labels=labels[truth.labels])
    return Record(image_id=image_id, path=record.path, truth=truth)
