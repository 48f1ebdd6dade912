"""The user's own COCO file and our results file give pycocotools the number that we print."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detection.config import DataConfig
from detection.data.dataset import read_dataset
from detection.evaluation.coco_ap import evaluate_coco
from detection.evaluation.matching import match_detections
from detection.evaluation.results import metrics, read_coco_json, write_results
from detection.structures import Dataset, Detections, GroundTruth

NAMES = ("ant", "bee", "cow", "dog")
CATEGORY_IDS = {
    "own numbers": (44, 18, 90, 7),
    "from 0": (0, 1, 2, 3),
    "falling": (9, 8, 2, 1),
    "texts": ("10", "9", "a", "B"),
}
IMAGE_IDS = {
    "from 0": range(6),
    "large": (397133, 37777, 252219, 2**40, 5, 10),
    "falling": range(60, 0, -10),
    "texts": ("b", "a10", "a9", "7", "0007", "c/d"),
}


def write_images(root: Path, count: int = 6) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 100, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(root / f"{number}.png")


def random_box(random: np.random.Generator) -> list[float]:
    """Draw x y w h with decimals that float32 does not hold, at times beyond the image."""
    x, y, w, h = random.uniform((-5, -5, 8, 8), (80, 60, 45, 45)).round(2).tolist()
    return [x, y, w, h]


def coco_file(seed: int, category_ids: Any, image_ids: Any) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    annotations = []
    for image in image_ids:
        for _ in range(int(random.integers(0, 6))):
            box = random_box(random)
            crowd = bool(random.random() < 0.2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category_ids[int(random.integers(4))],
                    "bbox": box,
                    "area": box[2] * box[3] * float(random.uniform(0.4, 1)),
                    "iscrowd": int(crowd),
                }
            )
            if random.random() < 0.2:
                annotations[-1]["ignore"] = 1
    rows = zip(category_ids, NAMES, strict=True)
    return {
        "images": [
            {"id": key, "file_name": f"{number}.png", "width": 100, "height": 80}
            for number, key in enumerate(image_ids)
        ],
        "categories": [{"id": key, "name": name} for key, name in rows],
        "annotations": annotations,
    }


def guesses(dataset: Dataset, content: dict[str, Any], seed: int) -> list[Detections]:
    """Guess around the objects, with equal scores among the guesses."""
    random = np.random.default_rng(seed)
    detections_of = []
    own = {str(image["id"]): image["id"] for image in content["images"]}
    label_of = {name: label for label, name in enumerate(dataset.class_names)}
    names = {row["id"]: row["name"] for row in content["categories"]}
    for record in dataset.records:
        boxes, labels = [], []
        for row in content["annotations"]:
            if row["image_id"] == own[record.image_id]:
                for _ in range(int(random.integers(0, 4))):
                    x, y, w, h = (np.array(row["bbox"]) + random.normal(0, 2.0, 4)).tolist()
                    boxes.append([x, y, x + max(w, 1), y + max(h, 1)])
                    labels.append(label_of[names[row["category_id"]]])
        scores = (random.integers(0, 5, len(boxes)) / 4).tolist()
        detections_of.append(
            Detections(
                image_id=record.image_id,
                boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                scores=torch.tensor(scores, dtype=torch.float32),
                labels=torch.tensor(labels, dtype=torch.int64),
            )
        )
    return detections_of


def pycocotools(truth: Path, results: Path) -> tuple[float, float, float]:
    """Return AP, AP at 0.5 and at 0.75 as anybody computes them."""
    with contextlib.redirect_stdout(io.StringIO()):
        own = COCO(str(truth))
        evaluation = COCOeval(own, own.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return tuple(evaluation.stats[:3].tolist())


@pytest.mark.parametrize("images", IMAGE_IDS)
@pytest.mark.parametrize("categories", CATEGORY_IDS)
@pytest.mark.parametrize("seed", range(3))
def test_pycocotools_gives_the_number_that_we_print(
    tmp_path: Path, categories: str, images: str, seed: int
) -> None:
    write_images(tmp_path)
    content = coco_file(seed, CATEGORY_IDS[categories], IMAGE_IDS[images])
    (tmp_path / "test.json").write_text(json.dumps(content))
    config = DataConfig(
        format="coco", root=str(tmp_path), train_split="test.json", test_split="test.json"
    )
    dataset = read_dataset(config, "test", class_names=sorted(NAMES, reverse=seed == 1))
    detections = guesses(dataset, content, seed)
    truths = [record.truth for record in dataset.records]
    result = evaluate_coco(truths, detections, dataset.class_names, dataset.coco)
    values = metrics(
        truths, detections, dataset.class_names, method="rcnn", split="test", terms=dataset.coco
    )
    values |= {"category_ids": list(dataset.coco.category_ids)}
    write_results(tmp_path / "run", values, detections, dataset.class_names, dataset.coco)
    file = tmp_path / "run" / "detections" / "coco.json"
    expected = pycocotools(tmp_path / "test.json", file)
    assert expected[0] > 0.05
    np.testing.assert_allclose((result.ap, result.ap50, result.ap75), expected, atol=1e-12)
    assert values["map"]["coco"] == result.ap
    again = read_coco_json(file)
    for one in detections:
        if len(one.labels):
            assert again[one.image_id].labels.tolist() == one.labels.tolist()
            torch.testing.assert_close(again[one.image_id].boxes, one.boxes)


def test_the_files_identifiers_keep_their_types(tmp_path: Path) -> None:
    write_images(tmp_path)
    content = coco_file(0, ("10", "9", 3, 4), (0, "1", 2, "x", 4, 5))
    (tmp_path / "test.json").write_text(json.dumps(content))
    config = DataConfig(
        format="coco", root=str(tmp_path), train_split="test.json", test_split="test.json"
    )
    dataset = read_dataset(config, "test", class_names=NAMES)
    detections = guesses(dataset, content, 0)
    write_results(tmp_path / "run", {"split": "test"}, detections, NAMES, dataset.coco)
    rows = json.loads((tmp_path / "run" / "detections" / "coco.json").read_text())
    own = {(row["image_id"], row["category_id"]) for row in content["annotations"]}
    assert {(row["image_id"], row["category_id"]) for row in rows} <= own
    assert {type(row["image_id"]) for row in rows} == {int, str}


def test_an_unknown_category_is_named(tmp_path: Path) -> None:
    (tmp_path / "detections").mkdir()
    (tmp_path / "metrics.json").write_text(json.dumps({"category_ids": [18, 44]}))
    path = tmp_path / "detections" / "coco.json"
    path.write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]')
    with pytest.raises(Exception, match=r"a category_id among \[18, 44\], got 1"):
        read_coco_json(path)


def test_a_crowd_is_measured_by_the_detections_own_area() -> None:
    truth = GroundTruth(
        image_id="1",
        size=(300, 400),
        boxes=torch.tensor([[10.0, 10, 60, 60], [100, 100, 300, 200]]),
        labels=torch.tensor([0, 0]),
        difficult=torch.tensor([False, True]),
        crowd=torch.tensor([False, True]),
    )
    inside = [[100.0 + 30 * n, 120, 125 + 30 * n, 160] for n in range(5)]
    detections_of = Detections(
        image_id="1",
        boxes=torch.tensor([*inside, [10.0, 10, 60, 60]]),
        scores=torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
        labels=torch.zeros(6, dtype=torch.int64),
    )
    assert evaluate_coco([truth], [detections_of], ["person"]).ap == 1.0  # five lie in the crowd
    (match,) = match_detections([truth], [detections_of], 1)
    assert match.outcomes.tolist() == [-1, -1, -1, -1, -1, 1]  # VOC's rule: none covers half of it


@pytest.mark.parametrize("categories", CATEGORY_IDS)
def test_two_files_score_as_the_one_that_they_make_up(tmp_path: Path, categories: str) -> None:
    content = coco_file(1, CATEGORY_IDS[categories], IMAGE_IDS["falling"])
    (tmp_path / "whole.json").write_text(json.dumps(content))
    write_images(tmp_path)
    for part, images in (("a", content["images"][:3]), ("b", content["images"][3:])):
        own = {image["id"] for image in images}
        rows = [row for row in content["annotations"] if row["image_id"] in own]
        (tmp_path / part).mkdir()
        text = json.dumps({**content, "images": images, "annotations": rows})
        (tmp_path / part / "test.json").write_text(text)
        for image in images:
            (tmp_path / image["file_name"]).rename(tmp_path / part / image["file_name"])
    roots = (str(tmp_path / "a"), str(tmp_path / "b"))
    config = DataConfig(root=roots, train_split="test", test_split="test")
    dataset = read_dataset(config, "test", class_names=NAMES)
    detections = guesses(dataset, content, 1)
    truths = [record.truth for record in dataset.records]
    result = evaluate_coco(truths, detections, dataset.class_names, dataset.coco)
    write_results(tmp_path / "run", {"split": "test"}, detections, NAMES, dataset.coco)
    file = tmp_path / "run" / "detections" / "coco.json"
    expected = pycocotools(tmp_path / "whole.json", file)
    assert expected[0] > 0.05
    np.testing.assert_allclose((result.ap, result.ap50, result.ap75), expected, atol=1e-12)
