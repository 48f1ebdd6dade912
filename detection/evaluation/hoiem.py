"""Which false positives come first, and which objects are hard to find: Hoiem's two analyses.

TIDE (``error_types``) says what each kind of error costs; this says what the best-scored errors
are, and how the average precision depends on what an object looks like.

Source:
    Hoiem, Chodpathumwan and Dai 2012, Diagnosing Error in Object Detectors, §2 and §3; with the
    released code where the paper leaves a number open. R-CNN §3.4 and Figures 5 and 6 use both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from detection.errors import ConfigError
from detection.evaluation.matching import (
    IGNORED,
    TRUE_POSITIVE,
    align,
    match_detections,
    pairwise_iou,
)
from detection.structures import Detections, GroundTruth

FALSE_POSITIVE_TYPES = {
    "Loc": "right class, box too far off, or a second box on an object",
    "Sim": "on an object of a similar class",
    "Oth": "on an object of another class",
    "BG": "on background",
}
LEAST_IOU = 0.1
"""A detection is on an object if they overlap by this or more."""

MULTIPLES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""How many detections to look at, in units of the objects of the class."""

VOC_GROUPS = {
    "vehicles": ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    "animals": ("bird", "cat", "cow", "dog", "horse", "sheep", "person"),
    "furniture": ("chair", "diningtable", "sofa"),
}
"""The groups of VOC's classes; animals include people."""

VOC_SIMILAR = (*VOC_GROUPS.values(), ("aeroplane", "bird"))
"""Two of VOC's classes are similar if one of these sets holds both."""

_VOC_ALONE = {"bottle", "pottedplant", "tvmonitor"}

_RIGHT = -1


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class RankedKinds:
    """What each detection of each class is, best first.

    Attributes:
        kinds: of each class; -1 for a right detection, else the place in ``FALSE_POSITIVE_TYPES``.
            Detections of difficult objects are left out.
        num_objects: of each class, difficult ones left out.
    """

    kinds: tuple[Int[np.ndarray, " _"], ...]
    num_objects: tuple[int, ...]


def similar_groups(
    class_names: Sequence[str], groups: Sequence[Sequence[str]] = ()
) -> dict[str, tuple[str, ...]]:
    """Return the groups of classes to show, by name; those of VOC where every class is VOC's.

    Args:
        class_names: label -> name.
        groups: of similar classes; empty for VOC's, or none where the classes are others.
    """
    if groups:
        return {", ".join(group): tuple(group) for group in groups}
    if not _are_vocs(class_names):
        return {}
    present = {
        title: tuple(name for name in names if name in class_names)
        for title, names in VOC_GROUPS.items()
    }
    return {title: names for title, names in present.items() if names}


def similar_classes(
    class_names: Sequence[str], groups: Sequence[Sequence[str]] = ()
) -> Bool[np.ndarray, "k k"]:
    """Return which classes are similar to which; a class is not similar to itself.

    Args:
        class_names: label -> name.
        groups: of similar classes; empty for VOC's, or none where the classes are others.

    Raises:
        ConfigError: if a group names a class that there is not.
    """
    known = {name: label for label, name in enumerate(class_names)}
    for name in (name for group in groups for name in group):
        if name not in known:
            message = (
                f"evaluation.similar_classes: expected classes of the data, got {name[:60]!r}; "
                "correct or remove it"
            )
            raise ConfigError(message)
    similar = np.zeros((len(known), len(known)), dtype=bool)
    for group in groups or (VOC_SIMILAR if _are_vocs(class_names) else ()):
        labels = [known[name] for name in group if name in known]
        similar[np.ix_(labels, labels)] = True
    np.fill_diagonal(similar, val=False)
    return similar


def _are_vocs(class_names: Collection[str]) -> bool:
    return set(class_names) <= _VOC_ALONE.union(*VOC_GROUPS.values())


def rank_false_positives(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    similar: Bool[np.ndarray, "k k"],
    *,
    iou: float = 0.5,
) -> RankedKinds:
    """Sort every wrong detection into one of four kinds, in the order of the scores.

    A wrong detection is, in this order: Loc if it overlaps an object of its class by 0.1 or more
    (by ``iou`` or more, it is a second box on that object); Sim if it overlaps one of a similar
    class so; Oth if one of any class; else BG. As in the released code, difficult objects count
    among what a wrong detection may overlap.

    Args:
        truths: one for each image of the split.
        detections: in any order; an image may be absent.
        similar: see ``similar_classes``.
        iou: the least overlap of a right detection.

    Raises:
        DataError: see ``evaluate_voc``.
    """
    aligned = align(truths, detections, len(similar))
    matches = match_detections(truths, aligned, len(similar), iou=iou)
    kinds = [_kinds(found, truth, similar) for found, truth in zip(aligned, truths, strict=True)]
    starts = np.cumsum([0, *map(len, kinds)])
    every = np.concatenate([np.zeros(0, dtype=np.int64), *kinds])
    ranked = []
    for match in matches:
        of_class = every[starts[match.images] + match.boxes]
        of_class[match.outcomes == TRUE_POSITIVE] = _RIGHT
        ranked.append(of_class[match.outcomes != IGNORED])
    return RankedKinds(
        kinds=tuple(ranked), num_objects=tuple(match.num_objects for match in matches)
    )


def _kinds(
    found: Detections, truth: GroundTruth, similar: Bool[np.ndarray, "k k"]
) -> Int[np.ndarray, " n"]:
    """Return the kind that each detection of an image has if it is wrong."""
    near = pairwise_iou(found.boxes.double().numpy(), truth.boxes.double().numpy()) >= LEAST_IOU
    mine, theirs = found.labels.numpy()[:, None], truth.labels.numpy()[None, :]
    return np.select(
        [
            (near & (mine == theirs)).any(axis=1),
            (near & similar[mine, theirs]).any(axis=1),
            near.any(axis=1),
        ],
        [0, 1, 2],
        3,
    )


def detection_shares(ranked: RankedKinds, label: int, multiple: float) -> Float[np.ndarray, " 5"]:
    """Return how the best detections of a class divide into right ones and the four kinds.

    Args:
        ranked: see ``rank_false_positives``.
        label: the class.
        multiple: of its number of objects: so many detections are looked at, one at least.

    Returns:
        Right, Loc, Sim, Oth, BG, with the sum 1; NaN without a detection or an object.
    """
    first = ranked.kinds[label][: _count(ranked, label, multiple)]
    counts = np.bincount(first - _RIGHT, minlength=5)
    return _shares(counts)


def false_positive_shares(
    ranked: RankedKinds, label: int, multiple: float
) -> Float[np.ndarray, " 4"]:
    """Return how the best-scored false positives of a class divide into the four kinds.

    Args:
        ranked: see ``rank_false_positives``.
        label: the class.
        multiple: of its number of objects: so many false positives are looked at, one at least.

    Returns:
        Loc, Sim, Oth, BG, with the sum 1; NaN without a false positive or an object.
    """
    wrong = ranked.kinds[label][ranked.kinds[label] != _RIGHT]
    return _shares(np.bincount(wrong[: _count(ranked, label, multiple)], minlength=4))


def _count(ranked: RankedKinds, label: int, multiple: float) -> int:
    objects = ranked.num_objects[label]
    return max(int(np.floor(multiple * objects + 0.5)), 1) if objects else 0


def _shares(counts: Int[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    total = counts.sum()
    shares: Float[np.ndarray, " s"] = counts / total if total else np.full(len(counts), np.nan)
    return shares


def mean_of_classes(rows: Sequence[Float[np.ndarray, " s"]]) -> Float[np.ndarray, " s"]:
    """Return the mean of the classes' shares over those that are known; NaN if none is."""
    known = [row for row in rows if not np.isnan(row).any()]
    return np.mean(known, axis=0) if known else np.full(len(rows[0]), np.nan)
