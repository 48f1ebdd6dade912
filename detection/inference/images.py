"""A trained detector on anybody's images: drawings and JSON.

Boxes of the next images are searched in other processes while the network works on this one.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PilImage

from detection.data.folder import list_images, name_images
from detection.detector import Detector
from detection.ensemble import Ensemble
from detection.errors import DataError, ImageError
from detection.evaluation.results import slug, write_coco_json
from detection.inference.proposal_prefetch import search_ahead
from detection.io.files import remove_leftovers, write_bytes_atomic, write_json_atomic
from detection.io.progress import track
from detection.report.drawing import draw_detections
from detection.structures import Detections, Image, Proposals
from detection.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a folder of images took.

    Attributes:
        images: how many were read.
        failed: file -> why it was not.
        seconds: from the first to the last.
        peak_gib: the most memory that this process held; None where the system does not say.
    """

    images: int
    failed: dict[str, str]
    seconds: float
    peak_gib: float | None

    def format(self) -> str:
        """Return a summary line, then one line per failed file."""
        rate = self.images / self.seconds if self.seconds else 0.0
        line = f"{counted(self.images, 'image')} in {self.seconds:.1f} s ({rate:.2f} a second)"
        if self.peak_gib is not None:
            line += f", peak memory {self.peak_gib:.2f} GiB"
        return "\n".join([line, *self.failed.values()])


def detect(
    detector: Detector | Ensemble,
    inputs: Sequence[Path],
    out: Path,
    *,
    threshold: float | None = None,
    draw: bool = True,
    coco: Path | None = None,
    called: Mapping[Path, str] | None = None,
) -> Summary:
    """Detect on images and folders of images; write ``detections.json`` and a PNG each.

    An image that cannot be read, or searched in ``proposals.time_limit``, is named in the summary
    and does not stop the others.

    Args:
        detector: trained; its configuration determines how boxes are proposed.
        inputs: files and folders.
        out: folder to write.
        threshold: detections below it are neither drawn nor written; a probability of a
            calibrated detector, otherwise a score; None takes the detector's
            ``decision_threshold``.
        draw: write the PNGs too.
        coco: a file for the same detections in COCO's result format; None writes none.
        called: what stands for files that were fetched, in ``detections.json`` and in errors.

    Raises:
        DataError: if no image is found, none can be read, or ``out`` cannot be written.
    """
    called = called or {}
    paths = list_images(inputs)
    names = unique_names(paths)
    image_ids = name_images(inputs, paths)
    remove_leftovers(out)
    lowest = detector.decision_threshold if threshold is None else threshold
    results: dict[str, Any] = {}
    shown: list[Detections] = []
    failed: dict[str, str] = {}
    start = time.perf_counter()
    work = detect_files(detector, paths, failed, image_ids)
    for path, image, detections in track(work, len(paths), "detect"):
        row = detections_to_json(detections, image, detector.class_names, lowest)
        key = called.get(path, str(path))
        results[key] = {"image_id": detections.image_id, **row}
        if coco is not None:
            shown.append(detections.above(lowest))
        if draw:
            drawing = f"{names[path]}.png"
            results[key]["drawing"] = drawing
            picture = draw_detections(image, detections, detector.class_names, threshold=lowest)
            write_png(out / drawing, picture)
    for path, name in called.items():
        if str(path) in failed:
            failed[name] = failed.pop(str(path)).replace(str(path), name)
    if not results:
        first, *others = failed.values()
        message = f"{first} ({len(others)} more cannot be read either)" if others else first
        raise DataError(message)
    write_json_atomic(out / "detections.json", results)
    if coco is not None:
        write_coco_json(coco, shown)
    return Summary(
        images=len(results),
        failed=failed,
        seconds=time.perf_counter() - start,
        peak_gib=peak_memory_gib(),
    )


def detect_files(
    detector: Detector | Ensemble,
    paths: Sequence[Path],
    failed: dict[str, str],
    image_ids: Mapping[Path, str] | None = None,
) -> Iterator[tuple[Path, Image, Detections]]:
    """Yield each image that can be read and searched, with its detections, in order.

    Args:
        detector: trained.
        paths: of the images.
        failed: takes file -> reason of the others.
        image_ids: what each is called; None takes the stems.

    Raises:
        DataError: naming the image in front, if a process was killed.
    """
    for path, searched in search_ahead(paths, detector.config):
        if isinstance(searched, ImageError):
            failed[str(path)] = str(searched)
            continue
        image_id = path.stem if image_ids is None else image_ids[path]
        image = Image(image_id=image_id, pixels=torch.from_numpy(searched[0]))
        proposals = Proposals(image_id=image_id, boxes=torch.from_numpy(searched[1]))
        try:
            detections = detector.detect(image, proposals)
        except ImageError as error:
            failed[str(path)] = str(error)
            continue
        yield path, image, detections


def detections_to_json(
    detections: Detections, image: Image, class_names: Sequence[str], threshold: float
) -> dict[str, Any]:
    """Return an image's detections as plain data: class, score, x1 y1 x2 y2.

    The probability is there of a calibrated detector, and the threshold is one.
    """
    kept = detections.above(threshold)
    rows = zip(
        kept.labels.tolist(),
        kept.scores.tolist(),
        kept.confidences.tolist(),
        kept.boxes.tolist(),
        strict=True,
    )
    calibrated = kept.probabilities is not None
    return {
        "size": list(image.size),
        "detections": [
            {"class": class_names[label], "score": score}
            | ({"probability": confidence} if calibrated else {})
            | {"box": box}
            for label, score, confidence, box in rows
        ],
    }


def unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return a name for each file's drawing: the stem, numbered where two are alike."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        base = name = slug(path.stem)
        number = 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        names[path] = name
    return names


def write_png(path: Path, picture: PilImage.Image) -> None:
    """Write a PNG atomically."""
    data = io.BytesIO()
    picture.save(data, "PNG")  # not optimised: that takes four times as long for as many bytes
    write_bytes_atomic(path, data.getvalue())


def peak_memory_gib() -> float | None:
    """Return the peak memory of this process in GiB; None on Windows, which counts otherwise."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (2**20 if sys.platform != "darwin" else 2**30)
