"""The files of an evaluation in the run folder: metrics.json, VOC's files, COCO's JSON, a table."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from detection.config import EvaluationConfig
from detection.errors import DataError, shown
from detection.evaluation.bootstrap import bootstrap_map
from detection.evaluation.coco_ap import CocoResult, evaluate_coco
from detection.evaluation.matching import match_detections
from detection.evaluation.voc_ap import VocResult, describe_rule, score_matches
from detection.io.files import remove_leftovers, slug, write_json_atomic, write_text_atomic
from detection.io.reading import read_plain
from detection.structures import CocoTerms, Detections, GroundTruth
from detection.words import counted

CONFIDENCE = 0.95

logger = logging.getLogger(__name__)


def metrics(
    truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    *,
    method: str,
    split: str,
    config: EvaluationConfig | None = None,
    terms: CocoTerms | None = None,
) -> dict[str, Any]:
    """Score detections by every rule; return what ``metrics.json`` holds.

    ``map`` and each entry of ``per_class`` hold ``voc07`` (11 points), ``voc10`` (area), ``coco``
    and ``coco50``; a value is None for a class without objects. ``interval`` is the 95% interval
    of ``map["voc07"]`` over resampled images, None where the configuration leaves it out.

    Args:
        truths: one for each image of the split.
        detections: in any order; an image may be absent, it then has none.
        class_names: label -> name.
        method: ``sppnet`` or ``rcnn``.
        split: the split's name.
        config: IoU and resampling; the defaults are the VOC devkit's.
        terms: of the COCO file that the truths were read from; None for another format.

    Raises:
        DataError: at an unknown or repeated image, a score or box that is not finite, or a label
            outside the classes.
    """
    config = config or EvaluationConfig()
    matches = match_detections(truths, detections, len(class_names), iou=config.iou)
    voc07 = score_matches(matches, class_names, iou=config.iou, rule="voc07")
    voc10 = score_matches(matches, class_names, iou=config.iou, rule="voc10")
    coco = evaluate_coco(truths, detections, class_names, terms)
    interval = None
    if config.bootstrap:
        interval = bootstrap_map(
            matches, resamplings=config.bootstrap, seed=config.seed, confidence=CONFIDENCE
        )
    num_detections = [len(of_class.scores) for of_class in matches]
    for name in voc07.classes_without_ground_truth:
        logger.warning(
            "class %s: no object to find in %s: left out of the mean", one_line(name), split
        )
    return {
        "method": method,
        "split": split,
        "num_images": len(truths),
        "map": {
            "voc07": _known(voc07.map),
            "voc10": _known(voc10.map),
            "coco": _known(coco.ap),
            "coco50": _known(coco.ap50),
        },
        "interval": None if interval is None else [_known(bound) for bound in interval],
        "per_class": _per_class(class_names, voc07, voc10, coco, num_detections),
        "rule": _rules(coco, config),
        "iou": config.iou,
        "class_names": list(class_names),
        "num_objects": sum(voc07.num_objects),
        "num_difficult": sum(voc07.num_difficult),
        "num_detections": sum(len(image_detections.scores) for image_detections in detections),
        "classes_without_ground_truth": list(voc07.classes_without_ground_truth),
    }


def _per_class(
    class_names: Sequence[str],
    voc07: VocResult,
    voc10: VocResult,
    coco: CocoResult,
    num_detections: Sequence[int],
) -> dict[str, dict[str, Any]]:
    """Return what ``metrics.json`` holds of each class."""
    return {
        name: {
            "voc07": _known(voc07.ap[label]),
            "voc10": _known(voc10.ap[label]),
            "coco": _known(coco.per_class[label]),
            "coco50": _known(coco.per_class_50[label]),
            "num_objects": voc07.num_objects[label],
            "num_difficult": voc07.num_difficult[label],
            "num_detections": num_detections[label],
        }
        for label, name in enumerate(class_names)
    }


def _rules(coco: CocoResult, config: EvaluationConfig) -> dict[str, str]:
    """Return in words how each number was computed, to stand beside it."""
    return {
        "voc07": describe_rule("voc07", config.iou),
        "voc10": describe_rule("voc10", config.iou),
        "coco": coco.rule,
        "interval": f"{CONFIDENCE:.0%} percentile interval of voc07 over images, "
        f"{config.bootstrap} resamplings",
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def format_table(values: dict[str, Any]) -> str:
    """Return a metrics.json as text: rule, split, counts and one line per class."""
    names = list(values["per_class"])
    width = max([len(one_line(name)) for name in names] + [len("class"), len("mean")])
    header = f"{'class':<{width}}  11-point   area   COCO  objects  difficult"
    lines = [
        f"{values['method']} on {counts_line(values)}, "
        f"{counted(values['num_detections'], 'detection')}",
        *rule_lines(values),
        header,
        "-" * len(header),
    ]
    for name, row in values["per_class"].items():
        note = "" if row["num_objects"] else "  no ground truth"
        lines.append(
            f"{one_line(name):<{width}}  {_percent(row['voc07']):>8} {_percent(row['voc10']):>6} "
            f"{_percent(row['coco']):>6} {row['num_objects']:>8} {row['num_difficult']:>10}{note}"
        )
    mean = values["map"]
    lines += [
        "-" * len(header),
        f"{'mean':<{width}}  {_percent(mean['voc07']):>8} {_percent(mean['voc10']):>6} "
        f"{_percent(mean['coco']):>6}",
    ]
    if values["interval"]:
        low, high = (_percent(bound) for bound in values["interval"])
        lines.append(f"95% interval of the 11-point mean over images: {low} to {high}")
    return "\n".join(lines)


def counts_line(values: Mapping[str, Any]) -> str:
    """Return one line with the numbers of images and objects of a metrics.json."""
    images, objects, hard = (
        values.get(key, "unknown") for key in ("num_images", "num_objects", "num_difficult")
    )
    counts = f"{counted(images, 'image')}, {counted(objects, 'object')}"
    return f"{values['split']}: {counts}, {hard} difficult"


def rule_lines(values: Mapping[str, Any]) -> list[str]:
    """Return the rules by which a metrics.json was computed, one line each."""
    return [f"{name}: {text}" for name, text in values["rule"].items() if _is_said(name, values)]


def _is_said(name: str, values: Mapping[str, Any]) -> bool:
    return name != "interval" or values["interval"] is not None


def one_line(name: str) -> str:
    """Return a class name that fits one line of a table, whatever characters it holds."""
    return " ".join(name.split())[:40]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def write_voc_files(
    folder: Path, detections: Sequence[Detections], class_names: Sequence[str], split: str
) -> list[Path]:
    """Write the devkit's ``comp4_det_<split>_<class>.txt`` files; return their paths.

    One line per detection: image, score, then 1-based inclusive xmin ymin xmax ymax with all
    digits, so that the devkit computes from them the numbers in metrics.json. Letters that are
    unsafe in a file name are replaced.

    Raises:
        DataError: if the folder cannot be written.
    """
    lines: list[list[str]] = [[] for _ in class_names]
    for image_detections in detections:
        boxes = image_detections.boxes.double() + torch.tensor(
            [1.0, 1.0, 0.0, 0.0], dtype=torch.float64
        )
        rows = zip(
            boxes.tolist(),
            image_detections.scores.tolist(),
            image_detections.labels.tolist(),
            strict=True,
        )
        for box, score, label in rows:
            corners = " ".join(f"{value:.10g}" for value in box)
            lines[label].append(f"{image_detections.image_id} {score:.9g} {corners}\n")
    paths = [Path(folder) / f"comp4_det_{slug(split)}_{slug(name)}.txt" for name in class_names]
    for path, content in zip(paths, lines, strict=True):
        write_text_atomic(path, "".join(content))
    return paths


def write_coco_json(
    path: Path, detections: Sequence[Detections], terms: CocoTerms | None = None
) -> None:
    """Write detections in COCO's result format: ``image_id category_id bbox score``.

    Both identifiers are those of the user's COCO file, numbers or texts as there. Without one
    ``category_id`` is the label plus 1; ``image_id`` is a number where the image's name is one, as
    in COCO's own sets, otherwise the name.

    Args:
        path: to write.
        detections: of any images.
        terms: of the COCO file; None where there is none.

    Raises:
        DataError: if the file cannot be written.
    """
    image_ids = {} if terms is None else terms.image_ids
    category_ids = None if terms is None else terms.category_ids
    text = ",\n".join(
        json.dumps(row)
        for image_detections in detections
        for row in image_detections.to_coco(image_ids.get(image_detections.image_id), category_ids)
    )
    write_text_atomic(path, f"[\n{text}\n]\n")


def read_coco_json(path: Path) -> dict[str, Detections]:
    """Read what ``write_coco_json`` wrote: image -> detections, images without any left out.

    Labels follow the ``category_ids`` of the run's metrics.json, the user's own; without these they
    are ``category_id`` less 1.

    Raises:
        DataError: if the file is not there or is not a list of COCO results.
    """
    label_of = _label_reader(Path(path).absolute().parent.parent / "metrics.json")
    try:
        rows = json.loads(read_plain(path, "a file of detections"))
        by_image: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_image.setdefault(str(row["image_id"]), []).append(row)
        return {key: _read_rows(key, own, label_of) for key, own in by_image.items()}
    except OSError as error:
        message = f"{path}: expected a file of detections: {error.strerror}"
        raise DataError(message) from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        message = f"{path}: expected a list of COCO results, got {type(error).__name__}: {error}"
        raise DataError(message) from error


def _label_reader(metrics_file: Path) -> Callable[[Any], int]:
    """Return the function from a category's identifier to its label."""
    category_ids = None
    if metrics_file.is_file():
        with contextlib.suppress(OSError, ValueError, AttributeError):  # who reads it says so
            category_ids = json.loads(metrics_file.read_bytes()).get("category_ids")
    if not isinstance(category_ids, list):
        return lambda identifier: int(identifier) - 1
    # Identifiers may be numbers in one file and the same numbers as text in the other: both are
    # known, and an exact match wins.
    labels: dict[Any, int] = {str(key): label for label, key in enumerate(category_ids)}
    labels |= {key: label for label, key in enumerate(category_ids)}

    def label_of(identifier: Any) -> int:
        label = labels.get(identifier, labels.get(str(identifier)))
        if label is None:
            message = f"expected a category_id among {category_ids}, got {shown(identifier)}"
            raise ValueError(message)
        return label

    return label_of


def _read_rows(
    image_id: str, rows: list[dict[str, Any]], label_of: Callable[[Any], int]
) -> Detections:
    xywh = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4)
    return Detections(
        image_id=image_id,
        boxes=torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), dim=1).float(),
        scores=torch.tensor([float(row["score"]) for row in rows]),
        labels=torch.tensor([label_of(row["category_id"]) for row in rows], dtype=torch.int64),
    )


def write_results(
    folder: Path,
    values: dict[str, Any],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    terms: CocoTerms | None = None,
) -> None:
    """Write ``metrics.json`` and ``detections/`` (COCO's JSON, VOC's files) into a run folder.

    Raises:
        DataError: if the folder cannot be written.
    """
    folder = Path(folder)
    for written in (folder, folder / "detections"):
        remove_leftovers(written)
    write_coco_json(folder / "detections" / "coco.json", detections, terms)
    write_voc_files(folder / "detections", detections, class_names, values["split"])
    write_json_atomic(folder / "metrics.json", values)
