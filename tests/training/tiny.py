"""A detection task that trains in a second: coloured rectangles, two conv layers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImage
from torch import nn

from detection.backbones.backbone import PREPROCESSINGS, Backbone, BackboneSpec
from detection.config import Config, FeatureConfig, FineTuneConfig, SvmConfig
from detection.features.factory import make_extractor
from detection.structures import ConvGeometry, GroundTruth, Proposals, Record
from detection.training.examples import TrainingImages
from detection.training.feature_cache import FeatureSource

CLASS_NAMES = ("red", "blue")
COLOURS = ((220, 40, 40), (40, 40, 220))
HEIGHT, WIDTH = 64, 96


def blueprint():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        trunk = nn.Sequential(
            nn.Conv2d(3, 6, 4, stride=4),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(),
        )
    return BackboneSpec(
        trunk=trunk,
        channels=8,
        crop_size=32,
        grid=2,
        last_pool=nn.AdaptiveMaxPool2d(2),
        min_size=16,
        renames=(),
    )


def backbone():
    built = Backbone(
        "tiny", blueprint(), ConvGeometry(stride=8, offset=1.5), PREPROCESSINGS["torchvision"]
    )
    return built.requires_grad_(False).eval()


def records(folder: Path, count: int = 6):
    made = []
    for index in range(count):
        random = np.random.default_rng(index)
        pixels = random.integers(100, 130, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        boxes, labels = [], []
        for label in (index % 2, 1 - index % 2)[: 1 + index % 2]:
            width, height = random.integers(20, 40, 2)
            left = int(random.integers(0, WIDTH // 2 - 8) + len(boxes) * (WIDTH // 2))
            left, top = min(left, WIDTH - int(width)), int(random.integers(0, HEIGHT - height))
            pixels[top : top + height, left : left + width] = COLOURS[label]
            boxes.append([left, top, left + int(width), top + int(height)])
            labels.append(label)
        path = folder / f"tiny{index}.png"
        PilImage.fromarray(pixels).save(path)
        truth = GroundTruth(
            image_id=path.stem,
            size=(HEIGHT, WIDTH),
            boxes=torch.tensor(boxes, dtype=torch.float32),
            labels=torch.tensor(labels),
            difficult=torch.zeros(len(labels), dtype=torch.bool),
        )
        made.append(Record(image_id=path.stem, path=path, truth=truth))
    return made


def proposals(record: Record) -> Proposals:
    random = torch.Generator().manual_seed(sum(record.image_id.encode()))
    corners = torch.rand(40, 2, 2, generator=random) * torch.tensor([WIDTH - 12.0, HEIGHT - 12.0])
    anywhere = torch.cat((corners.amin(dim=1), corners.amax(dim=1) + 12), dim=1)
    near = record.truth.boxes.repeat(10, 1)
    near = near + torch.randint(-5, 6, near.shape, generator=random)
    limits = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT], dtype=torch.float32)
    boxes = torch.cat((anywhere, near)).clamp(min=0).minimum(limits)
    return Proposals(image_id=record.image_id, boxes=boxes)


def config(method: str = "sppnet", **tune) -> Config:
    settings = {
        "enabled": True,
        "iterations": 12,
        "learning_rate": 0.01,
        "batch_size": 16,
        "fc_size": 8,
        "validation_fraction": 0.0,
        "checkpoint_every": 5,
        "log_every": 4,
    }
    layer = "pool5" if tune.get("fc_size") == 0 else "fc7"
    return Config(
        features=FeatureConfig(
            method=method, layer=layer, scales=(64,), context=2, device="cpu", dtype="float32"
        ),
        svm=SvmConfig(norm_images=3, norm_boxes=10),
        finetune=FineTuneConfig(**settings | tune),
    )


def training_images(settings: Config, its_records) -> TrainingImages:
    extractor = make_extractor(backbone(), settings.features)
    return TrainingImages(
        records=its_records,
        proposals=proposals,
        source=FeatureSource(extractor, max_pixels=10_000, budget=1 << 24),
        class_names=CLASS_NAMES,
        difficult=False,
    )


def with_scales(settings: Config, *scales: int) -> Config:
    return replace(settings, features=replace(settings.features, scales=scales))
