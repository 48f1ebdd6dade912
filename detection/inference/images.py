"""A trained detector on anybody's images: drawings and JSON.

Boxes of the next images are searched in other processes while the network works on this one.
"""

from __future__ import annotations

import functools
import io
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PilImage

from detection.data.folder import list_images, name_images
from detection.detector import Detector
from detection.ensemble import Ensemble
from detection.errors import DataError, ImageError
from detection.evaluation.results import write_coco_json
from detection.inference.proposal_prefetch import search_ahead
from detection.inference.shards import FOLDER, Recipe, Sharding, loaded, make_recipe
from detection.io.files import remove_leftovers, slug, write_bytes_atomic, write_json_atomic
from detection.io.progress import track
from detection.io.shards import Row, connected, file_key, run_shards
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
        kept: how many of the images were done by an earlier call.
    """

    images: int
    failed: dict[str, str]
    seconds: float
    peak_gib: float | None
    kept: int = 0

    def format(self) -> str:
        """Return a summary line, then one line per failed file."""
        line, new = counted(self.images, "image"), self.images - self.kept
        if self.kept and not new:  # a rate would be that of reading the results
            line += ", all there already"
        else:
            rate = new / self.seconds if self.seconds else 0.0
            line += f", {self.kept} there already, the others" if self.kept else ""
            line += f" in {self.seconds:.1f} s ({rate:.2f} a second)"
        if self.peak_gib is not None:
            line += f", peak memory {self.peak_gib:.2f} GiB"
        return "\n".join([line, *self.failed.values()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An image of which something is wanted.

    Attributes:
        path: of the image.
        called: what stands for it in the results.
        image_id: its identifier.
        file: the name of what is written of it, its drawing or its features; "" for none.
    """

    path: Path
    called: str
    image_id: str
    file: str


def detect(
    detector: Detector | Ensemble,
    inputs: Sequence[Path],
    out: Path,
    *,
    threshold: float | None = None,
    draw: bool = True,
    coco: Path | None = None,
    called: Mapping[Path, str] | None = None,
    sharding: Sharding | None = None,
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
        sharding: where workers share the images, the detector's files with them; their shards stay
            in ``out/shards``, and a second call does what is missing there. None stays here.

    Raises:
        DataError: if no image is found, none can be read, or ``out`` cannot be written.
    """
    targets = targets_of(inputs, called or {}, ".png" if draw else "")
    remove_leftovers(out)
    lowest = detector.decision_threshold if threshold is None else threshold
    kept: set[str] = set()
    start = time.perf_counter()
    if sharding is None:
        rows = track(_rows(detector, targets, out, lowest), len(targets), "detect")
    else:
        rows = _rows_of_shards(detector, targets, out, lowest, sharding, kept)
    results: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for row in rows:
        if "failed" in row:
            failed[row["called"]] = row["failed"]
        else:
            results[row["called"]] = row["entry"]
    if sharding is not None:
        remove_leftovers(out)  # of workers that were killed
    if not results:
        first, *others = failed.values()
        message = f"{first} ({len(others)} more cannot be read either)" if others else first
        raise DataError(message)
    write_json_atomic(out / "detections.json", results)
    if coco is not None:
        names = detector.class_names
        write_coco_json(coco, [entry_to_detections(entry, names) for entry in results.values()])
    return Summary(
        images=len(results),
        failed=failed,
        seconds=time.perf_counter() - start,
        peak_gib=peak_memory_gib(),
        kept=len(kept & results.keys()),
    )


def targets_of(inputs: Sequence[Path], called: Mapping[Path, str], ending: str) -> list[Target]:
    """Return what files and folders hold, in order.

    Args:
        inputs: files and folders.
        called: what stands for files that were fetched.
        ending: of the files to write; "" for none.

    Raises:
        DataError: for a path that is not there, and if there is no image.
    """
    paths = list_images(inputs)
    names = unique_names(paths) if ending else {}
    image_ids = name_images(inputs, paths)
    return [
        Target(
            path=path,
            called=called.get(path, str(path)),
            image_id=image_ids[path],
            file=f"{names[path]}{ending}" if ending else "",
        )
        for path in paths
    ]


def absolute(targets: Sequence[Target]) -> list[Target]:
    """Return the same images for workers, which may have other folders of their own."""
    return [replace(target, path=target.path.absolute()) for target in targets]


def _rows(
    detector: Detector | Ensemble, targets: Sequence[Target], out: Path, lowest: float
) -> Iterator[Row]:
    """Yield a row for each image: those that succeed in their order, then the others."""
    failed: dict[str, str] = {}
    by_path = {target.path: target for target in targets}
    image_ids = {target.path: target.image_id for target in targets}
    for path, image, detections in detect_files(detector, list(by_path), failed, image_ids):
        target = by_path[path]
        row = detections_to_json(detections, image, detector.class_names, lowest)
        entry = {"image_id": target.image_id, **row}
        if target.file:
            entry["drawing"] = target.file
            picture = draw_detections(image, detections, detector.class_names, threshold=lowest)
            write_png(out / target.file, picture)
        yield {"called": target.called, "entry": entry}
    for target in targets:
        if reason := failed.get(str(target.path)):
            reason = reason.replace(str(target.path), target.called)
            yield {"called": target.called, "failed": reason}


def _rows_of_shards(
    detector: Detector | Ensemble,
    targets: Sequence[Target],
    out: Path,
    lowest: float,
    sharding: Sharding,
    kept: set[str],
) -> Iterator[Row]:
    """Yield the same rows from workers.

    What an earlier call has done is added to ``kept``.
    """
    recipe = make_recipe(sharding.runs, detector.config, work="detect", lowest=lowest)
    items = absolute(targets)
    keys = [file_key(item.path, item.called, item.image_id, item.file) for item in items]
    work = functools.partial(detect_shard, recipe, out.absolute(), lowest)

    def reuse(its: Sequence[Target], rows: Iterable[Row]) -> bool:
        drawn = all(_is_drawn(row, out) for row in rows)
        kept.update(target.called for target in its if drawn)
        return drawn

    with connected(sharding.parallel):
        yield from run_shards(
            work,
            items,
            keys,
            out / FOLDER,
            fingerprint=recipe.fingerprint,
            parallel=sharding.parallel,
            description="detect",
            reuse=reuse,
        )


def _is_drawn(row: Row, out: Path) -> bool:
    """Return whether the drawing of a row is still in its folder; True of a row without one."""
    drawing = row.get("entry", {}).get("drawing")
    return not drawing or (out / drawing).is_file()


def detect_shard(
    recipe: Recipe, out: Path, lowest: float, targets: Sequence[Target]
) -> Iterable[Row]:
    """Return the rows of a shard, its drawings written; called in a worker.

    Args:
        recipe: of the detector.
        out: folder of the drawings.
        lowest: the threshold.
        targets: the images of the shard.
    """
    with loaded(recipe) as detector:
        return list(_rows(detector, targets, out, lowest))


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


def entry_to_detections(entry: Mapping[str, Any], class_names: Sequence[str]) -> Detections:
    """Return the detections of an image's entry in ``detections.json``.

    Args:
        entry: as ``detect`` makes it.
        class_names: label -> name.
    """
    rows = entry["detections"]
    calibrated = any("probability" in row for row in rows)
    return Detections(
        image_id=entry["image_id"],
        boxes=torch.tensor([row["box"] for row in rows], dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor([row["score"] for row in rows], dtype=torch.float32),
        labels=torch.tensor([class_names.index(row["class"]) for row in rows], dtype=torch.int64),
        probabilities=torch.tensor([row["probability"] for row in rows], dtype=torch.float32)
        if calibrated
        else None,
    )


def unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return a name for each image's own file: the stem, numbered where two are alike."""
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
