"""The data set that a configuration names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from detection.config import DataConfig
from detection.data.annotations import UNREADABLE
from detection.data.coco import narrowed, read_tables
from detection.data.coco_file import image_folder
from detection.data.issues import Allowed, Rules
from detection.data.join import join
from detection.data.overlap import shared_files
from detection.data.roots import Source, sources_of
from detection.data.tables import kind_of, open_tables
from detection.data.voc import open_voc, read_split, read_voc
from detection.errors import DataError
from detection.structures import Dataset, Record, Skipped
from detection.words import counted

_LOG = logging.getLogger(__name__)


def read_dataset(
    config: DataConfig,
    split: Literal["train", "test"],
    *,
    class_names: Sequence[str] = (),
    allow_missing: bool = False,
) -> Dataset:
    """Read the training or the test images that a configuration names.

    Training leaves out degenerate boxes and, up to ``max_skipped``, unreadable images; evaluation
    keeps every image and stops instead. Difficult objects are kept in both.

    Args:
        config: the ``data`` section.
        split: which of its two lists.
        class_names: label order; empty takes the configuration's, or else the names in the training
            annotations, sorted.
        allow_missing: keep unreadable images of the test list; they count as images in which
            nothing was found.

    Raises:
        DataError: at the first fault that is not to be left out or mended, or where the training
            list has no object of a class.
    """
    names = tuple(class_names) or config.class_names
    if split == "train":
        dataset = _read_all(config, "train", names, strict=False, allow=())
        return with_every_class(dataset, config)
    if not names:
        names = read_dataset(config, "train").class_names
    allow: list[Allowed] = ["degenerate"] if config.allow_degenerate else []
    allow += ["missing"] if allow_missing else []
    dataset = _read_all(config, "test", names, strict=True, allow=allow)
    pairs = shared_files(_training_files(config), (record.path for record in dataset.records))
    shared = len(pairs)
    if shared and config.strict_splits:
        message = (
            f"{dataset.name}: expected no training image, got {shared} that are also in "
            f"{config.train_split!r} (the first: {_pair(*pairs[0])}); choose disjoint lists or "
            "unset data.strict_splits"
        )
        raise DataError(message)
    if not shared:
        return dataset
    _LOG.warning(
        "%s: %s also in %r (the first: %s)",
        dataset.name,
        counted(shared, "image is", "images are"),
        config.train_split,
        _pair(*pairs[0]),
    )
    return replace(dataset, notes={**dataset.notes, "also in the training list": shared})


def without_images(dataset: Dataset, reasons: Mapping[str, str], config: DataConfig) -> Dataset:
    """Leave out training images that turned out to be unreadable after their headers were read.

    Args:
        dataset: as ``read_dataset`` gave it.
        reasons: image -> why it cannot be read.
        config: the ``data`` section.

    Raises:
        DataError: where no object of a class is left to train on.
    """
    if not reasons:
        return dataset
    left_out = unreadable(dataset, reasons)
    kept = tuple(record for record in dataset.records if record.image_id not in reasons)
    count = dataset.notes.get(UNREADABLE, 0) + len(left_out)
    _LOG.warning("%s: %s: %d", dataset.name, UNREADABLE, count)
    dataset = replace(
        dataset,
        records=kept,
        notes={**dataset.notes, UNREADABLE: count},
        skipped=(*dataset.skipped, *left_out),
    )
    return with_every_class(dataset, config)


def unreadable(dataset: Dataset, reasons: Mapping[str, str]) -> tuple[Skipped, ...]:
    """Return entries for images that proved unreadable and are not listed yet.

    Args:
        dataset: as ``read_dataset`` gave it.
        reasons: image -> why it cannot be read.
    """
    listed = {entry.file for entry in dataset.skipped}
    failed = ((str(r.path), reasons[r.image_id]) for r in dataset.records if r.image_id in reasons)
    return tuple(
        Skipped(file=file, kind=UNREADABLE, reason=reason.removeprefix(f"{file}: "))
        for file, reason in failed
        if file not in listed
    )


def may_skip(dataset: Dataset, max_skipped: float) -> float:
    """Return the fraction of a data set's images that may still prove unreadable.

    Args:
        dataset: as ``read_dataset`` gave it.
        max_skipped: the fraction of the listed images that may be left out in all.
    """
    before = sum(entry.kind == UNREADABLE for entry in dataset.skipped)
    allowed = max_skipped * (len(dataset.records) + before) - before
    return min(max(allowed / max(len(dataset.records), 1), 0.0), 1.0)


def _read_all(
    config: DataConfig,
    split: Literal["train", "test"],
    class_names: Sequence[str],
    *,
    strict: bool,
    allow: Sequence[Allowed],
) -> Dataset:
    """Read the list of each root; several are one data set."""
    sources = sources_of(config, split)
    parts = [_read(source, class_names, strict=strict, allow=allow) for source in sources]
    if len(parts) == 1:
        return parts[0]
    return join(parts, [source.label for source in sources], strict=strict)


def _read(
    source: Source, class_names: Sequence[str], *, strict: bool, allow: Sequence[Allowed]
) -> Dataset:
    config = source.config
    if kind_of(config) != "voc":
        rules = Rules.of(
            strict=strict,
            ignore_unknown_classes=config.ignore_unknown_classes,
            allow=allow,
            max_skipped=config.max_skipped,
        )
        tables = open_tables(config, source.split)
        return read_tables(tables, source.root, source.split, class_names, rules)
    return read_voc(
        open_voc(source.root, config.year, config.lists),
        source.split,
        class_names=class_names,
        strict=strict,
        ignore_unknown_classes=config.ignore_unknown_classes,
        allow=allow,
        max_skipped=config.max_skipped,
    )


def with_every_class(dataset: Dataset, config: DataConfig) -> Dataset:
    """Make sure that each class has an object to train on, or drop those that have none."""
    present: set[int] = set()
    for record in dataset.records:
        used = torch.ones_like(record.truth.difficult)
        if not config.train_difficult:
            used = ~record.truth.difficult
        present.update(record.truth.labels[used].tolist())
    empty = [name for label, name in enumerate(dataset.class_names) if label not in present]
    if not empty:
        return dataset
    if not config.drop_empty_classes or not present:
        message = (
            f"{dataset.name}: expected objects of every class to train on, got none of "
            f"{', '.join(map(repr, empty))}; correct data.class_names, add images or set "
            "data.drop_empty_classes"
        )
        raise DataError(message)
    _LOG.warning("%s: dropped the classes without objects: %s", dataset.name, ", ".join(empty))
    return _select_classes(dataset, sorted(present))


def _select_classes(dataset: Dataset, labels: Sequence[int]) -> Dataset:
    """Keep the objects of some classes only, relabelled in their order."""
    new_label = torch.full((len(dataset.class_names),), -1, dtype=torch.int64)
    new_label[list(labels)] = torch.arange(len(labels))
    records = []
    for record in dataset.records:
        truth = record.truth
        mapped = new_label[truth.labels]
        kept = mapped >= 0
        flags = {name: getattr(truth, name) for name in ("crowd", "truncated", "occluded")}
        known: dict[str, Any] = {name: f[kept] for name, f in flags.items() if f is not None}
        truth = replace(
            truth,
            boxes=truth.boxes[kept],
            labels=mapped[kept],
            difficult=truth.difficult[kept],
            **known,
        )
        records.append(Record(image_id=record.image_id, path=record.path, truth=truth))
    names = tuple(dataset.class_names[label] for label in labels)
    coco = dataset.coco and narrowed(dataset.coco, labels)
    return replace(dataset, class_names=names, records=tuple(records), coco=coco)


def _training_files(config: DataConfig) -> list[Path]:
    """Return the images that the training lists name; none of a list that is not there."""
    return [path for source in sources_of(config, "train") for path in _listed_files(source)]


def _listed_files(source: Source) -> list[Path]:
    try:
        if kind_of(source.config) != "voc":
            listed = open_tables(source.config, source.split)
            root = image_folder(listed, source.root)
            return [root / image.file_name for image in listed.images]
        folder = open_voc(source.root, source.config.year, source.config.lists)
        return [folder.image_path(key) for key in read_split(folder, source.split).image_ids]
    except DataError:
        return []


def _pair(first: Path, second: Path) -> str:
    """Name one file of both lists, or two of one content."""
    return str(second) if first == second else f"{second}, the same file as {first}"
