"""Read a split of any folder in VOC layout."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from detection.data.examined import (
    Examined,
    ExaminedObject,
    FoundObject,
    assemble,
    examine_objects,
    problem_of,
    settle_size,
)
from detection.data.images import read_file
from detection.data.problems import Allowed, Problem, Rules, stop_at
from detection.data.voc_folder import VocFolder, open_voc_folder, read_split
from detection.data.voc_xml import Annotation, VocObject, parse_annotation, write_voc_annotation
from detection.errors import DataError
from detection.structures import Dataset

__all__ = ["VOC_CLASSES", "VocObject", "read_voc", "write_voc_annotation"]

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The classes of VOC2007 to VOC2012, in the order of the devkit."""


def read_voc(
    root: Path,
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
        root: see ``open_voc_folder``.
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
    rules = Rules(
        strict=strict,
        ignore_unknown_classes=ignore_unknown_classes,
        allow_degenerate="degenerate" in allow,
        allow_missing="missing" in allow,
        max_skipped=max_skipped,
    )
    folder = open_voc_folder(root, year)
    listed = read_split(folder, split)
    stop_at(listed.problems)
    examined = []
    for item in examine(folder, listed.image_ids, rules, known=class_names):
        stop_at(item.problems)
        examined.append(item)
    problems = [*listed.problems, *(problem for item in examined for problem in item.problems)]
    return assemble(f"{folder.name} {split}", split, examined, problems, tuple(class_names), rules)


def examine(
    folder: VocFolder, image_ids: Iterable[str], rules: Rules, *, known: Sequence[str] = ()
) -> Iterator[Examined]:
    """Read images' headers and annotations, one after another, and say what is wrong with each.

    Args:
        folder: where they are.
        image_ids: which ones.
        rules: what stops a reader.
        known: the class names; empty takes every name.
    """
    known_names = frozenset(known)
    for image_id in image_ids:
        yield _examine_one(folder, image_id, rules, known_names)


def _examine_one(folder: VocFolder, image_id: str, rules: Rules, known: frozenset[str]) -> Examined:
    path, xml_path = folder.image_path(image_id), folder.annotation_path(image_id)
    place = str(xml_path)
    try:
        annotation = parse_annotation(read_file(xml_path), place)
    except DataError as error:
        missing = problem_of("missing annotation", place, error, "stop")
        annotation = Annotation(filename="", size=None, objects=(), problems=(missing,))
    problems = list(annotation.problems)
    size = settle_size(path, annotation.size, place, rules, problems)
    stem = Path(annotation.filename.replace("\\", "/")).stem
    if annotation.filename and image_id not in {stem, annotation.filename}:
        what = f"expected the <filename> of {image_id}, got {annotation.filename[:80]!r}; not used"
        problems.append(Problem(kind="other filename", place=place, what=what, action="note"))
    found = (
        FoundObject(
            place=f"{place}: object {item.number}",
            class_name=item.class_name,
            corners=item.corners,
            difficult=item.difficult,
        )
        for item in annotation.objects
    )
    if size is None:
        objects: tuple[ExaminedObject, ...] = ()
    else:
        objects, more = examine_objects(found, size, rules, known, one_based=True)
        problems += more
    return Examined(
        image_id=image_id,
        path=path,
        size=size,
        objects=objects,
        problems=tuple(problems),
    )
