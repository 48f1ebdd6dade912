"""Read a COCO JSON file and the images it names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from detection.data.coco_file import CocoFile, CocoImage, category_ids, open_coco
from detection.data.examined import Examined, assemble, examine_objects, settle_size
from detection.data.problems import Allowed, Problem, Rules, stop_at
from detection.structures import Dataset

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
    nor punishes finding them.

    Args:
        images: the folder of the images; names in the file may contain folders below it.
        annotations: the JSON file, or its name in the folder of the images.
        class_names: label order; empty takes the categories that have objects, by identifier.
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
    coco = open_coco(images, annotations)
    stop_at(coco.problems)
    names = tuple(class_names) or coco.used_names()
    examined = []
    for item in examine_coco(coco, images, coco.images, rules, known=names):
        stop_at(item.problems)
        examined.append(item)
    problems = [*coco.problems, *(problem for item in examined for problem in item.problems)]
    return assemble(coco.path.stem, coco.path.stem, examined, problems, names, rules)


def examine_coco(
    coco: CocoFile,
    folder: Path,
    images: Iterable[CocoImage],
    rules: Rules,
    *,
    known: Sequence[str] = (),
) -> Iterator[Examined]:
    """Read images' headers and say what is wrong with each and with its objects."""
    known_names = frozenset(known)
    for image in images:
        problems: list[Problem] = []
        path = folder / image.file_name
        place = f"{coco.path}: image {image.image_id!r}"
        size = settle_size(path, image.size, place, rules, problems)
        found = coco.objects.get(image.image_id, ()) if size is not None else ()
        kept, more = examine_objects(found, size or (1, 1), rules, known_names, one_based=False)
        yield Examined(
            image_id=str(image.image_id),
            path=path,
            size=size,
            objects=kept,
            problems=(*problems, *more),
        )
