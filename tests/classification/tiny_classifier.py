"""A network and a data set so small that training takes a second."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from detection.backbones import weights
from detection.backbones.backbone import BackboneSpec
from detection.classification.classifier import build_classifier
from detection.classification.model_io import TrainedClassifier
from detection.config import BackboneConfig, Config, DataConfig, FeatureConfig
from detection.pretrain_config import PretrainConfig
from tests.data.folders import VocTree, annotation_xml, object_xml

NAMES = ("blue", "green", "red")
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (210, 50, 40)}


def tiny_blueprint() -> BackboneSpec:
    """Cells of 16 x 16 pixels that do not overlap."""
    return BackboneSpec(
        trunk=nn.Sequential(
            nn.Conv2d(3, 8, 4, stride=4, device="meta"),
            nn.ReLU(),
            nn.Conv2d(8, 12, 4, stride=4, device="meta"),
            nn.ReLU(),
        ),
        channels=12,
        crop_size=64,
        grid=2,
        last_pool=nn.MaxPool2d(2, stride=2),
        min_size=16,
        renames=(),
    )


def use_tiny_network(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(weights.BACKBONES, "tiny", tiny_blueprint)


def write_picture(path: Path, colour: tuple[int, int, int], seed: int, size=(40, 52)) -> None:
    noise = np.random.default_rng(seed).normal(0, 20, (*size, 3))
    pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def write_class_folders(root: Path, pictures: int = 8) -> Path:
    for split, first in (("train", 0), ("val", 100)):
        for label, (name, colour) in enumerate(COLOURS.items()):
            for number in range(pictures):
                path = root / split / name / f"{number}.png"
                write_picture(path, colour, 1000 * label + first + number)
    return root


def tiny_config(root: Path, **changes) -> Config:
    settings = {
        "root": str(root),
        "sizes": (32,),
        "short_side": 36,
        "levels": (1, 2),
        "fc_size": 16,
        "init": "kaiming",
        "epochs": 4,
        "batch_size": 6,
        "learning_rate": 0.02,
        "checkpoint_every": 5,
        **changes,
    }
    return Config(backbone=BackboneConfig(name="tiny"), pretrain=PretrainConfig(**settings))


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def trained(tmp_path, **changes) -> TrainedClassifier:
    config = tiny_config(tmp_path, **changes)
    return TrainedClassifier(
        model=build_classifier(config, 3).eval(), class_names=NAMES, config=config
    )


def write_voc(root, images=10):
    """Images of one colour, with an object of the class of that name."""
    tree = VocTree(root)
    ids = {"train": [], "test": []}
    for label, (name, colour) in enumerate(COLOURS.items()):
        for number in range(images):
            split = "train" if number % 2 else "test"
            image_id = f"{label}{number:03d}"
            ids[split].append(image_id)
            noise = np.random.default_rng(number + 100 * label).normal(0, 15, (40, 60, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            tree.image(image_id, picture=lambda p=pixels: PIL.Image.fromarray(p), quality=95)
            hard = "<difficult>1</difficult>"
            other = next(other for other in COLOURS if other != name)
            objects = [object_xml(name)]
            if number < 2:
                objects.append(object_xml(other, difficult=hard))
            tree.annotation(image_id, annotation_xml(*objects, filename=f"{image_id}.jpg"))
    for split, names in ids.items():
        tree.split(split, "\n".join(names) + "\n")
    return root


def voc_config(root, **features) -> Config:
    return Config(
        data=DataConfig(root=str(root), train_split="train"),
        backbone=BackboneConfig(name="tiny"),
        features=FeatureConfig(layer="pool5", scales=(64,), levels=(1, 2), **features),
    )
