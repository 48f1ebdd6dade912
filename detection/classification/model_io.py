"""Classifiers in one safetensors file, which is also a weight file of its trunk.

``backbone.weights`` may name such a file: a detector then takes over the trunk, and fc6 and fc7
where they fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from detection.backbones.weights import load_backbone
from detection.classification.classifier import Classifier
from detection.config import Config
from detection.errors import CheckpointError
from detection.heads.fc import FcHead
from detection.io.tensors import load_tensors, save_tensors
from detection.model_io import part, preprocessing_name
from detection.model_parts import (
    CLASSIFIER_FIELDS,
    as_float,
    check_fc,
    check_header,
    stored_config,
)
from detection.runs.config_io import config_to_dict
from detection.runs.folder import model_file

SCHEMA = 1
"""Raised when the meaning of a tensor or a header field changes."""
KIND = "classifier"


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TrainedClassifier:
    """What a classifier's file holds.

    Attributes:
        model: in evaluation mode.
        class_names: label -> name.
        config: that it was trained with.
    """

    model: Classifier
    class_names: tuple[str, ...]
    config: Config


def save_classifier(path: Path, trained: TrainedClassifier) -> None:
    """Write a classifier with its label map.

    Raises:
        DataError: if the file cannot be written; an old one stays.
    """
    model = trained.model
    header = {
        "schema": SCHEMA,
        "kind": KIND,
        "class_names": list(trained.class_names),
        "config": config_to_dict(trained.config),
        "preprocessing": preprocessing_name(model.preprocessing),
        "levels": model.levels,
    }
    save_tensors(path, model.state_dict(), header)


def load_classifier(path: Path) -> TrainedClassifier:
    """Read what `save_classifier` wrote, on the CPU.

    Args:
        path: the file, or the run folder that holds it.

    Raises:
        CheckpointError: if the file is missing, damaged, no classifier, of another version, or its
            tensors do not belong together.
    """
    path = model_file(path, "classifier")
    tensors, header = load_tensors(path)
    right = header.get("kind") == KIND and header.get("schema") == SCHEMA
    if not right or type(header["schema"]) is not int:
        got = f"{header.get('kind')!r} of schema {header.get('schema')!r}"
        message = (
            f"{path}: expected a classifier of schema {SCHEMA}, got {got}; train one with "
            "detection pretrain"
        )
        raise CheckpointError(message)
    check_header(path, header, CLASSIFIER_FIELDS)
    config = stored_config(path, header)
    backbone_config = replace(config.backbone, preprocessing=header["preprocessing"])
    tensors = as_float(path, tensors)
    trunk = {name: tensor for name, tensor in tensors.items() if name.startswith("trunk.")}
    backbone = load_backbone(backbone_config, stored=trunk)
    weight = tensors.get("fc.fc6.weight", torch.empty(0))
    size, feature_dim = weight.shape if weight.ndim == 2 else (0, 0)
    check_fc(path, {**tensors, "fc.fc6.weight": weight}, feature_dim, "fc7")
    fc = FcHead(int(feature_dim), size=int(size), dropout=config.pretrain.dropout)
    model = Classifier(backbone, fc, len(header["class_names"]), header["levels"])
    try:
        model.fc.load_state_dict(part(tensors, "fc."))
        model.fc8.load_state_dict(part(tensors, "fc8."))
    except RuntimeError as error:
        message = (
            f"{path}: expected fc layers that fit together and {len(header['class_names'])} "
            f"classes, got {' '.join(str(error).split())}"
        )
        raise CheckpointError(message) from error
    return TrainedClassifier(
        model=model.to(memory_format=torch.channels_last).eval(),
        class_names=tuple(header["class_names"]),
        config=config,
    )
