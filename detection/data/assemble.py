"""The data set that is made of the images of a split."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from detection.data.annotations import UNREADABLE, CheckedImage
from detection.data.issues import AnnotationIssue, Rules
from detection.errors import DataError
from detection.structures import Dataset, GroundTruth, Record

_LOG = logging.getLogger(__name__)


def assemble(
    name: str,
    split: str,
    examined: Sequence[CheckedImage],
    issues: Sequence[AnnotationIssue],
    class_names: tuple[str, ...],
    rules: Rules,
) -> Dataset:
    """Build the data set from what was read, and log what was left out or corrected.

    Args:
        name: of the data set.
        split: of it.
        examined: every image.
        issues: those of the split itself; those of the images come on top.
        class_names: label order; empty takes the names of the objects, sorted.
        rules: how many images may be left out.

    Raises:
        DataError: if too many images were left out, or nothing names a class.
    """
    issues = [*issues, *(issue for item in examined for issue in item.issues)]
    class_names = class_names or _annotated_classes(name, examined)
    kept = [item for item in examined if item.size is not None]
    _check_skipped(name, len(examined) - len(kept), len(examined), issues, rules)
    notes = dict(Counter(issue.kind for issue in issues))
    _say(name, issues, notes, sum(len(item.objects) for item in kept))
    labels = {class_name: label for label, class_name in enumerate(class_names)}
    records = tuple(_record(item, labels) for item in kept)
    left_out = tuple(p.skipped for p in issues if p.action == "skip" or p.kind == UNREADABLE)
    return Dataset(
        name=name,
        split=split,
        class_names=class_names,
        records=records,
        notes=notes,
        skipped=left_out,
    )


def _annotated_classes(name: str, examined: Sequence[CheckedImage]) -> tuple[str, ...]:
    """Return the classes of all objects, sorted: labels do not depend on the order of the files."""
    class_names = tuple(sorted({o.class_name for item in examined for o in item.objects}))
    if not class_names:
        message = f"{name}: expected at least one object, got none; set data.class_names"
        raise DataError(message)
    return class_names


def _check_skipped(
    name: str, skipped: int, total: int, issues: Sequence[AnnotationIssue], rules: Rules
) -> None:
    """Raise DataError if so many images are unreadable that the folder itself is suspect."""
    if skipped <= rules.max_skipped * total:
        return
    first = next(issue for issue in issues if issue.kind == UNREADABLE)
    message = (
        f"{name}: expected at most {rules.max_skipped:.1%} unreadable images, got {skipped} of "
        f"{total} (the first: {first.message}); repair them or raise data.max_skipped"
    )
    raise DataError(message)


def _say(
    name: str, issues: Sequence[AnnotationIssue], notes: dict[str, int], num_objects: int
) -> None:
    firsts: dict[str, AnnotationIssue] = {}
    for issue in issues:
        firsts.setdefault(issue.kind, issue)
    for kind, count in notes.items():
        level = logging.INFO if firsts[kind].action == "note" else logging.WARNING
        _LOG.log(level, "%s: %s: %d (the first: %s)", name, kind, count, firsts[kind].message)
    # A few boxes at 0 are slips of an annotator; many mean that the whole file counts from 0, and
    # that every box has been shifted by a pixel.
    if notes.get("corner at 0", 0) > 0.01 * num_objects:
        _LOG.warning(
            "%s: %d of %d boxes have a corner at 0: the file looks 0-based, VOC counts from 1",
            name,
            notes["corner at 0"],
            num_objects,
        )


def _record(item: CheckedImage, labels: dict[str, int]) -> Record:
    crowd = torch.tensor([o.crowd for o in item.objects], dtype=torch.bool)
    truth = GroundTruth(
        image_id=item.image_id,
        size=item.size or (1, 1),
        boxes=torch.tensor([o.box for o in item.objects], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([labels[o.class_name] for o in item.objects], dtype=torch.int64),
        difficult=torch.tensor([o.difficult for o in item.objects], dtype=torch.bool),
        crowd=crowd if crowd.any() else None,
        truncated=_flags([o.truncated for o in item.objects]),
        occluded=_flags([o.occluded for o in item.objects]),
    )
    return Record(image_id=item.image_id, path=item.path, truth=truth)


def _flags(values: Sequence[bool | None]) -> Int[Tensor, " n"] | None:
    """Return 1, 0 and -1 for yes, no and unknown; None where nothing is known."""
    if all(value is None for value in values):
        return None
    return torch.tensor([-1 if value is None else int(value) for value in values])
