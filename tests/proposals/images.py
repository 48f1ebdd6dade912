"""Small images with something to find on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import torch

from detection.structures import Dataset, GroundTruth, Record


def shapes(seed: int = 0, height: int = 120, width: int = 160) -> np.ndarray:
    """Draw rectangles of several colours on a noisy ground, RGB."""
    random = np.random.default_rng(seed)
    image = random.normal(128, 12, (height, width, 3))
    for _ in range(6):
        y, x = random.integers(0, height - 20), random.integers(0, width - 20)
        h, w = random.integers(20, 60, 2)
        image[y : y + h, x : x + w] = random.integers(0, 256, 3) + random.normal(0, 4, 3)
    return image.clip(0, 255).astype(np.uint8)


def write_dataset(folder: Path, count: int = 3) -> Dataset:
    """Write a few images; return them as a data set with one object each."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for index in range(count):
        pixels = shapes(index)
        path = folder / f"image{index}.png"
        PIL.Image.fromarray(pixels).save(path)
        truth = GroundTruth(
            image_id=path.stem,
            size=(int(pixels.shape[0]), int(pixels.shape[1])),
            boxes=torch.tensor([[10.0, 10.0, 60.0, 60.0]]),
            labels=torch.zeros(1, dtype=torch.int64),
            difficult=torch.zeros(1, dtype=torch.bool),
        )
        records.append(Record(image_id=path.stem, path=path, truth=truth))
    return Dataset(
        name="shapes", split="train", class_names=("shape",), records=tuple(records), notes={}
    )
