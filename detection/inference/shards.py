"""What workers do with their shards: load the detector once, then detect on list after list."""

from __future__ import annotations

import contextlib
import functools
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from detection.config import Config
from detection.detector import Detector
from detection.ensemble import Ensemble, combine
from detection.io.files import sha256_of_bytes, sha256_of_file
from detection.io.shards import Parallel, Row
from detection.io.variables import positive_variable
from detection.model_io import load_detector
from detection.proposals.store import store_parameters
from detection.runs.config_io import config_to_dict
from detection.runs.folder import MODEL_NAME
from detection.structures import Detections
from detection.version import VERSION

FOLDER = "shards"
"""Where the files of the shards are, below the folder of the results."""

_ELSEWHERE = {"data", "proposals", "svm", "bbox", "finetune", "evaluation", "pretrain", "classify"}
"""Sections that no row depends on, or that are described by what of them a row depends on."""

_LOCK = threading.Lock()
"""A worker of several threads works on one shard after the other."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Sharding:
    """How detecting is shared out to workers.

    Attributes:
        runs: folders or files of the trained detectors, which every worker can read.
        parallel: where the workers are.
    """

    runs: tuple[Path, ...]
    parallel: Parallel


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Recipe:
    """What a worker makes its detector from, and what its rows depend on.

    Attributes:
        models: files of the members.
        config: how they are applied.
        threads: of torch in a worker.
        fingerprint: SHA-256 of the models' content, the settings and the versions.
    """

    models: tuple[Path, ...]
    config: Config
    threads: int
    fingerprint: str


def make_recipe(runs: Sequence[Path], config: Config, *, threads: int = 0, **also: Any) -> Recipe:
    """Describe the detector that workers load.

    Args:
        runs: folders or files of the members.
        config: of the combined detector.
        threads: of torch; 0 takes those of a worker, OMP_NUM_THREADS or one.
        **also: what else the rows depend on.
    """
    paths = [Path(run).absolute() for run in runs]
    models = tuple(path / MODEL_NAME if path.is_dir() else path for path in paths)
    threads = threads or int(positive_variable("OMP_NUM_THREADS", 1, "threads", 1e4))
    settings = config_to_dict(config)
    described = {
        "models": [sha256_of_file(model) for model in models],
        "proposals": store_parameters(config.proposals),
        "max_boxes": config.proposals.max_boxes,
        "time_limit": config.proposals.time_limit,
        # All sections but these: one that is new may change what is detected.
        "settings": {name: settings[name] for name in settings.keys() - _ELSEWHERE},
        "max_pixels": config.data.max_pixels,
        "allow_missing": config.evaluation.allow_missing,
        "threads": threads,
        "versions": [VERSION, torch.__version__],
        "also": also,
    }
    text = json.dumps(described, sort_keys=True, default=str)
    fingerprint = sha256_of_bytes(text.encode())
    of_worker = replace(config, proposals=replace(config.proposals, workers=1, parallel="loky"))
    return Recipe(models=models, config=of_worker, threads=threads, fingerprint=fingerprint)


@contextlib.contextmanager
def loaded(recipe: Recipe) -> Iterator[Detector | Ensemble]:
    """Yield the detector of a recipe, which the process keeps for its next shard.

    Torch has as many threads meanwhile as the recipe says: sums depend on their number.
    """
    with alone(recipe.threads):
        yield _load(ByFingerprint(recipe))


@contextlib.contextmanager
def alone(threads: int) -> Iterator[None]:
    """Work on nothing else in this process meanwhile, with a number of threads of torch."""
    with _LOCK:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


class ByFingerprint:
    """A recipe as the key of a cache."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByFingerprint) and hash(self) == hash(other)

    def __hash__(self) -> int:
        return hash((self.recipe.fingerprint, self.recipe.models))


@functools.lru_cache(maxsize=1)
def _load(key: ByFingerprint) -> Detector | Ensemble:
    recipe = key.recipe
    device = recipe.config.features.device
    members = [load_detector(path, device=device) for path in recipe.models]
    return combine(members, recipe.config)


def detections_to_row(detections: Detections) -> Row:
    """Return detections as plain data, no bit lost."""
    probabilities = detections.probabilities
    return {
        "image_id": detections.image_id,
        "boxes": detections.boxes.tolist(),
        "scores": detections.scores.tolist(),
        "labels": detections.labels.tolist(),
        "probabilities": None if probabilities is None else probabilities.tolist(),
        "num_unusable": detections.num_unusable,
    }


def detections_from_row(row: Mapping[str, Any], class_names: Sequence[str] = ()) -> Detections:
    """Return what ``detections_to_row`` was called with.

    Args:
        row: of an image.
        class_names: label -> name.
    """
    probabilities = row["probabilities"]
    return Detections(
        image_id=row["image_id"],
        boxes=torch.tensor(row["boxes"], dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(row["scores"], dtype=torch.float32),
        labels=torch.tensor(row["labels"], dtype=torch.int64),
        class_names=tuple(class_names),
        num_unusable=row["num_unusable"],
        probabilities=None
        if probabilities is None
        else torch.tensor(probabilities, dtype=torch.float32),
    )
