"""What a training needs that is not here, in one line each, and what there cannot be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from detection.backbones.facts import FACTS
from detection.backbones.weight_files import published_file
from detection.backbones.weight_packages import package_file
from detection.backbones.weights import BACKBONES
from detection.config import Config
from detection.errors import DetectionError
from detection.reproduce.table import Task, Training


def impossible(training: Training, config: Config) -> str:
    """Return why there can be no such training; empty where there can.

    Args:
        training: of a row.
        config: its settings.
    """
    layer, facts = config.features.layer, FACTS.get(config.backbone.name)
    tuned = training.task == "detection" and (config.finetune.enabled or training.network)
    made = tuned or Path(config.backbone.weights).is_dir()
    if layer == "pool5" or facts is None or facts.fc or made:
        return ""
    lacks = f"the weights of {config.backbone.name} have no {layer}"
    return f"{lacks}, and only fine-tuning makes one" if training.task == "detection" else lacks


def missing(training: Training, config: Config) -> tuple[str, ...]:
    """Return what has to be there first, and where it goes; nothing where a row can run.

    Weights that torchvision publishes are downloaded.

    Args:
        training: of a row.
        config: its settings.
    """
    weights = "" if training.network else _weights(config.backbone.name, config.backbone.weights)
    data = _DATA[training.task](config)
    return tuple(line for line in (*data, weights) if line)


def _voc(config: Config) -> list[str]:
    return [
        f"{root}: no such folder; the images go there: detection download --year "
        f"{config.data.year or 2007}, or --data.root names others"
        for root in config.data.roots
        if not Path(root).exists()
    ]


def _images(config: Config) -> list[str]:
    if config.pretrain.source == "objects":
        return _voc(config)
    root = Path(config.pretrain.root)
    folders = (root / config.pretrain.train_folder, root / config.pretrain.test_folder)
    return [
        f"{folder}: no such folder; ImageNet goes there, one folder a class, or --pretrain.root "
        "names another"
        for folder in folders
        if not folder.exists()
    ]


def _class_folders(config: Config) -> list[str]:
    if config.classify.svm_source == "objects":
        return _voc(config)
    root = config.classify.svm_root
    if Path(root).exists():
        return []
    return [
        f"{root}: no such folder; Caltech101 goes there, one folder a class with "
        "BACKGROUND_Google among them, or --classify.svm_root names another"
    ]


_DATA: dict[Task, Callable[[Config], list[str]]] = {
    "detection": _voc,
    "classification": _images,
    "images": _voc,
    "folders": _class_folders,
}
"""What says which images are not there."""


@functools.cache
def _weights(name: str, weights: str) -> str:
    """Return why weights cannot be had; empty where they can."""
    if weights == "none" or name not in BACKBONES:
        return ""
    try:
        if weights == "torchvision":
            published_file(name, BACKBONES[name]().published)
        elif weights == "package":
            package_file(name, BACKBONES[name]().package)
        elif not Path(weights).exists():
            return (
                f"{weights}: no such file; weights of {name} go there (detection weights import "
                "reads Caffe's), or --backbone.weights names others"
            )
    except DetectionError as error:
        return str(error)
    return ""
