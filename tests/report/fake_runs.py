"""Run folders as training and evaluation leave them, with made-up detections."""

import zlib

import numpy as np
import torch
from PIL import Image

from detection.config import (
    BackboneConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    FeatureConfig,
    ProposalConfig,
)
from detection.data.dataset import read_dataset
from detection.evaluation.results import metrics, write_results
from detection.io.files import write_json_atomic, write_text_atomic
from detection.runs.config_io import config_to_dict, write_config
from detection.structures import Detections

STAGES = {
    "sppnet": {"decode": 0.004, "proposals": 0.31, "resize": 0.006, "conv": 0.19},
    "rcnn": {"decode": 0.004, "proposals": 0.31, "warp": 0.42, "conv": 27.1},
}


def make_coco(folder, class_names, *, num_images=8, file_name="{}.png"):
    """Write images of grey noise with up to four objects each, and COCO's JSON."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image in range(1, num_images + 1):
        pixels = rng.integers(90, 130, (80, 120, 3)).astype(np.uint8)
        count = 0 if image == num_images else int(rng.integers(1, 5))
        for _ in range(count):
            x, y, w, h = (int(v) for v in rng.integers([0, 0, 20, 20], [70, 40, 50, 40]))
            label = int(rng.integers(len(class_names)))
            pixels[y : y + h, x : x + w, label % 3] += 100
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": label + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
        name = file_name.format(image)
        Image.fromarray(pixels).save(folder / name)
        images.append({"id": image, "file_name": name, "width": 120, "height": 80})
    categories = [{"id": n, "name": name} for n, name in enumerate(class_names, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json_atomic(folder / "objects.json", content)
    path = str(folder / "objects.json")
    return DataConfig(
        root=str(folder),
        format="coco",
        train_split=path,
        test_split=path,
        class_names=tuple(class_names),
    )


def guess(truth, num_classes, seed, skill):
    """Objects moved a little, some forgotten, some of a wrong class, and boxes on nothing."""
    rng = np.random.default_rng(zlib.crc32(truth.image_id.encode()) + seed)
    height, width = truth.size
    rows = []
    for box, label in zip(truth.boxes.numpy(), truth.labels.tolist(), strict=True):
        if rng.random() < skill:
            side = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            moved = box + rng.normal(0, 0.09 * side, 4)
            wrong = rng.random() < 0.12
            rows.append(
                (moved, rng.integers(num_classes) if wrong else label, rng.normal(0.6, 0.5))
            )
            if rng.random() < 0.2:
                rows.append((box + rng.normal(0, 0.2 * side, 4), label, rng.normal(-0.1, 0.4)))
    for _ in range(int(rng.integers(1, 7))):
        corner = rng.uniform(0, [width * 0.7, height * 0.7])
        extent = rng.uniform(0.1, 0.3, 2) * [width, height]
        box = np.concatenate([corner, corner + extent])
        rows.append((box, rng.integers(num_classes), rng.normal(-0.5, 0.4)))
    boxes = np.array([box for box, _, _ in rows], dtype=np.float32).reshape(-1, 4)
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:] - 1), boxes[:, 2:]], axis=1)
    return Detections(
        image_id=truth.image_id,
        boxes=torch.tensor(boxes),
        scores=torch.tensor([score for _, _, score in rows], dtype=torch.float32),
        labels=torch.tensor([int(label) for _, label, _ in rows], dtype=torch.int64),
    )


def make_run(folder, method, *, data, seed=0, skill=0.8, store="", backbone=None, scales=(96,)):
    """Write a run folder as ``detection evaluate`` leaves it."""
    config = Config(
        data=data,
        features=FeatureConfig(method=method, layer="pool5", scales=scales),
        backbone=backbone or BackboneConfig(name="squeezenet"),
        proposals=ProposalConfig(folder=store or str(folder / "proposals")),
    )
    dataset = read_dataset(config.data, "test")
    truths = [record.truth for record in dataset.records]
    detections = [guess(truth, len(dataset.class_names), seed, skill) for truth in truths]
    values = metrics(
        truths,
        detections,
        dataset.class_names,
        method=method,
        split=dataset.split,
        config=EvaluationConfig(bootstrap=200),
    )
    values |= {"dataset": dataset.name, "config": config_to_dict(config)}
    write_results(folder, values, detections, dataset.class_names)
    write_text_atomic(folder / "config.yaml", write_config(config))
    write_json_atomic(folder / "environment.json", {"python": "3.11", "packages": {"torch": "2"}})
    return config


def make_benchmark(folder):
    """Write a benchmark.json of made-up seconds."""
    rest = {"pooling": 0.012, "svm": 0.03, "regression": 0.02, "suppression": 0.008}
    methods = {
        name: {
            "stages": {
                stage: {"median": seconds, "q1": 0.9 * seconds, "q3": 1.1 * seconds}
                for stage, seconds in {**stages, **rest}.items()
            }
        }
        for name, stages in STAGES.items()
    }
    ratios = {"conv_s": 142.6, "network_s": 61.3, "without_proposals_s": 60.1}
    write_json_atomic(
        folder / "benchmark.json",
        {
            "backbone": "zf5",
            "dtype": "float32",
            "device": "cpu",
            "threads": 2,
            "num_images": 5,
            "median_boxes": 2000.0,
            "methods": methods,
            "ratios": {**ratios, "with_proposals_s": 31.4, "conv_flops": 174.0},
        },
    )
