"""Train and evaluate a detector on the piece of VOC 2012: seconds a stage, mAP beside the CPU's.

For SPPnet, the trained model is then applied to the same images on the CPU and on the GPU,
both in float32: the detections are equal up to rounding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import (
    ROOT,
    Settings,
    detection,
    know_small_network,
    peak_memory_gib,
    read_settings,
    reset_peak_memory,
    write,
)

from detection.boxes import iou
from detection.data.dataset import read_dataset
from detection.data.images import read_image
from detection.io.device import resolve_dtype
from detection.model_io import load_detector
from detection.structures import Detections

CPU = {"sppnet": "subset_sppnet.json", "rcnn": "subset_rcnn_300.json"}
LIKE_CPU = {"sppnet": (), "rcnn": ("--proposals.max_boxes", "300")}
"""What the CPU's numbers were measured with besides the configuration."""
SMOKE = (
    *("--backbone.name", "tiny", "--backbone.weights", "none", "--features.context", "4"),
    *("--backbone.preprocessing", "auto", "--features.scales", "96"),
    *("--proposals.max_boxes", "20", "--evaluation.bootstrap", "20", "--svm.norm_images", "4"),
)
SAME_PIXEL, NUM_IMAGES = 1.0, 20


def options_of(settings: Settings, method: str) -> list[str]:
    """Return the words that name the configuration and depart from it."""
    data = settings.data
    words = ["--config", str(ROOT / "configs" / f"subset_{method}_squeezenet.yaml")]
    words += ["--data.root", data.root, "--data.train_split", data.train_split]
    words += ["--data.test_split", data.test_split, "--proposals.folder", settings.boxes]
    words += ["--features.device", str(settings.device)]
    if settings.smoke:
        return [*words, *SMOKE]
    return [*words, "--backbone.weights", str(settings.weights), *LIKE_CPU[method]]


def compare_detections(here: Detections, there: Detections) -> dict[str, float]:
    """Return how far the detections of two devices are apart.

    Each of the one is matched with that of its class in the other which overlaps it most; it is
    ``apart`` where a side differs by more than a pixel, as where rounding decides which of two
    boxes suppresses the other.
    """
    found = {"count": len(here.scores), "apart": 0, "box": 0.0, "score": 0.0}
    for label in here.labels.unique().tolist():
        a, b = here.labels == label, there.labels == label
        if not b.any():
            found["apart"] += int(a.sum())
            continue
        best = iou(here.boxes[a], there.boxes[b]).argmax(dim=1)
        box = (here.boxes[a] - there.boxes[b][best]).abs().amax(dim=1)
        score = (here.scores[a] - there.scores[b][best]).abs()
        same = box <= SAME_PIXEL
        found["apart"] += int((~same).sum())
        for key, values in (("box", box[same]), ("score", score[same])):
            found[key] = max([found[key], *values.tolist()])
    return found


def agreement(settings: Settings, run: Path) -> dict[str, float]:
    """Return the largest differences between the CPU's detections and the device's, in float32."""
    trained = load_detector(run, device="cpu")
    config = trained.config
    exact = replace(config, features=replace(config.features, dtype="float32"))
    here = trained.with_config(exact).to("cpu")
    there = here.to(str(settings.device))
    records = read_dataset(settings.data, "test", class_names=trained.class_names).records
    records = records[:: max(1, len(records) // NUM_IMAGES)][:NUM_IMAGES]
    pairs = []
    for record in records:
        image = read_image(record.path, record.image_id)
        pairs.append(compare_detections(here.detect(image), there.detect(image)))
    return {
        "num_images": len(pairs),
        "num_detections": sum(pair["count"] for pair in pairs),
        "num_apart": sum(pair["apart"] for pair in pairs),
        "max_score_difference": max(pair["score"] for pair in pairs),
        "max_box_difference": max(pair["box"] for pair in pairs),
    }


def main() -> None:
    """Run stage after stage; the file is written after each."""
    settings = read_settings(__doc__, method=("sppnet", "rcnn"))
    if settings.smoke:
        know_small_network()
    method, words = settings.words.method, options_of(settings, settings.words.method)
    run, results = settings.work / method, settings.work / f"{method}_results"
    cpu = json.loads((ROOT / "docs" / "results" / CPU[method]).read_text(encoding="utf-8"))
    values: dict[str, Any] = {
        "dtype": str(resolve_dtype("auto", settings.device)).removeprefix("torch."),
        "seconds": {},
        "cpu": {"file": CPU[method], "map": cpu["map"], "interval": cpu["interval"]},
    }

    def stage(name: str, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        values["seconds"][name] = round(time.perf_counter() - start, 2)
        write(settings, f"subset_{method}", values)

    propose = [
        w
        for pair in zip(words[::2], words[1::2], strict=True)
        for w in pair
        if pair[0].startswith(("--config", "--data", "--proposals"))
    ]
    workers = ("--proposals.workers", 1 if settings.smoke else 0)  # 0: one a core
    stage("proposals", lambda: detection("propose", *propose, *workers))
    reset_peak_memory(settings.device)
    stage("train", lambda: detection("train", *words, "--out", run, "--overwrite"))
    values["peak_gib"] = {"train": peak_memory_gib(settings.device)}
    reset_peak_memory(settings.device)
    there = ("--device", settings.device, "--out", results)
    stage("evaluate", lambda: detection("evaluate", run, *there))
    values["peak_gib"]["evaluate"] = peak_memory_gib(settings.device)
    metrics = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    values |= {key: metrics[key] for key in ("map", "interval", "num_images")}
    if method == "sppnet":
        torch.cuda.empty_cache()
        stage("agreement", lambda: values.update(agreement=agreement(settings, run)))
    write(settings, f"subset_{method}", values)
    print(values)


if __name__ == "__main__":
    main()
