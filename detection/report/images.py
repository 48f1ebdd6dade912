"""The sections that show images: the detections, and how SPPnet sees one image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from detection.backbones.weights import load_backbone
from detection.config import Config, FeatureConfig
from detection.data.images import read_image
from detection.errors import DetectionError
from detection.features.extractor import FeatureExtractor
from detection.features.factory import EXTRACTORS, make_extractor
from detection.features.scale import choose_scale
from detection.features.sppnet import SppExtractor
from detection.model_io import load_detector
from detection.report.drawing import Box, as_boxes, draw_marks, draw_truth, embed
from detection.report.gallery import LEGEND, Judged, choose_images, mark_image
from detection.report.loading import Run
from detection.report.palette import TRUTH, run_colour
from detection.report.parts import Absent, Section
from detection.report.spp_figure import LevelPicture, explain_spp
from detection.structures import Dataset, FeatureMap, Image, Record

logger = logging.getLogger(__name__)

MAX_SIDE = 560
"""Longer side of an image in the report, in pixels: a few dozen of them make a file of some
megabytes."""
MAX_RUNS = 3

GROUPS = {
    "different": ("Most different", "where the first two runs disagree most"),
    "best": ("Best", "found with the fewest mistakes"),
    "worst": ("Worst", "most objects missed or most boxes wrong"),
}


def images(
    judged: Sequence[Judged], dataset: Dataset, *, count: int = 3, max_pixels: int
) -> Section:
    """Return the best, the worst and the most different images, one panel per run."""
    shown = list(judged[:MAX_RUNS])
    chosen = choose_images(shown, count)
    groups = []
    for key, (title, meaning) in GROUPS.items():
        items = [
            item
            for index in chosen[key]
            if (item := _item(shown, index, dataset, max_pixels)) is not None
        ]
        if items:
            groups.append({"title": title, "meaning": meaning, "items": items})
    thresholds = [{"name": run.name, "threshold": run.threshold} for run in shown]
    annotated = [("annotated object", TRUTH, "solid")] if len(shown) == 1 else []
    return {
        "groups": groups,
        "thresholds": thresholds,
        "panels": max(len(shown), 2),
        "marks": [*LEGEND, *annotated],
    }


def _item(runs: Sequence[Judged], index: int, dataset: Dataset, max_pixels: int) -> Section | None:
    record = dataset.records[index]
    image = read_or_none(record, max_pixels)
    if image is None:
        return None
    panels = []
    if len(runs) == 1:
        names = dataset.class_names
        picture = draw_truth(image, record.truth, names, max_side=MAX_SIDE, colour=TRUTH)
        panels.append({"name": "annotated", "colour": "", "image": embed(picture), "text": ""})
    for place, run in enumerate(runs):
        marks = mark_image(run, index, record.truth, dataset.class_names)
        right, wrong = int(run.right[index]), int(run.wrong[index])
        objects = int(run.objects[index])
        panels.append(
            {
                "name": run.name,
                "colour": run_colour(place),
                "image": embed(draw_marks(image, marks, max_side=MAX_SIDE)),
                "text": f"{right} of {objects} found, {wrong} wrong",
            }
        )
    return {"image_id": record.image_id, "panels": panels}


def has_windows(config: FeatureConfig) -> bool:
    """Return whether boxes are pooled from windows of cells of the whole image's map."""
    return EXTRACTORS[config.method] is SppExtractor and config.pooling == "max"


def read_or_none(record: Record, max_pixels: int) -> Image | None:
    """Read an image; if that fails, log it and return None."""
    try:
        return read_image(record.path, record.image_id, max_pixels=max_pixels)
    except DetectionError as error:
        logger.warning("%s; left out of the report", error)
        return None


def spp(runs: Sequence[Run], judged: Sequence[Judged], dataset: Dataset) -> Section | Absent:
    """Return the figure that explains SPP on an image of this data set."""
    run = next((r for r in runs if r.config and has_windows(r.config.features)), None)
    if run is None or run.config is None:
        command = "detection train --features.method sppnet --features.pooling max"
        return Absent("no run of SPPnet is among these that pools maxima", command)
    try:
        extractor = _extractor(run.folder, run.config)
    except DetectionError as error:
        return Absent(f"the network cannot be read ({error})", "detection train")
    index, box = _telling_box(judged[0], dataset)
    if box is None:
        return Absent("no image has an object", "")
    record = dataset.records[index]
    image = read_or_none(record, run.config.data.max_pixels)
    if image is None:
        return Absent(f"the image {record.image_id} cannot be read", "detection check")
    features = run.config.features
    with torch.inference_mode():
        maps = extractor.encode_image(image)
    picture = explain_spp(
        image,
        _map_for(maps, box, image, features.scales, features.scale_rule),
        box,
        levels=features.levels,
        rule=features.projection,
    )
    x1, y1, x2, y2 = picture.window
    return {
        "image_id": record.image_id,
        "image": embed(picture.image),
        "map": embed(picture.feature_map, "PNG"),
        "levels": _level_images(picture.levels),
        "box": [round(value) for value in (box[2] - box[0], box[3] - box[1])],
        "window": [x2 - x1, y2 - y1],
        "picture": picture,
        "bins": sum(level * level for level in features.levels),
    }


def _level_images(levels: Sequence[LevelPicture]) -> list[dict[str, Any]]:
    """Return the images of each pyramid level, ready for the page."""
    return [
        {
            "level": level.level,
            "cells": embed(level.cells, "PNG"),
            "maxima": embed(level.maxima, "PNG"),
        }
        for level in levels
    ]


def _extractor(folder: Path, config: Config) -> FeatureExtractor:
    """Return the run's network; if its model is missing, the one it started from."""
    if (folder / "model.safetensors").is_file() or config.finetune.enabled:
        return load_detector(folder, device="cpu").extractor
    features = replace(config.features, device="cpu", dtype="float32")
    return make_extractor(load_backbone(config.backbone), features)


def _telling_box(run: Judged, dataset: Dataset) -> tuple[int, Box | None]:
    """Choose an uncut object of about a fifth of a landscape format that is well detected."""
    best, index, chosen = float("inf"), 0, None
    for place, record in enumerate(dataset.records):
        height, width = record.truth.size
        if not run.objects[place]:
            continue
        for box in as_boxes(record.truth.boxes):
            share = (box[2] - box[0]) * (box[3] - box[1]) / (height * width)
            elongation = max(box[2] - box[0], 1) / max(box[3] - box[1], 1)
            cut = min(box[0], box[1], width - box[2], height - box[3]) < 2
            off = abs(share - 0.2) + abs(elongation - 1.2) + cut + 0.3 * (height > width)
            off -= float(run.quality[place])
            if off < best:
                best, index, chosen = off, place, box
    return index, chosen


def _map_for(
    maps: Sequence[FeatureMap], box: Box, image: Image, scales: Sequence[int], rule: str
) -> FeatureMap:
    choice = choose_scale(
        torch.tensor([box]),
        image.size,
        scales,
        "paper" if rule == "paper" else "released_code",
    )
    return maps[int(choice[0]) * (len(maps) // len(scales))]
