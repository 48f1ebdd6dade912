"""Detectors in memory, and what they answer about one image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from detection.benchmark.clock import StageClock
from detection.benchmark.instrument import instrument
from detection.benchmark.speed import STAGES
from detection.config import Config
from detection.data.images import decode_image
from detection.detector import Detector
from detection.ensemble import Ensemble, combine
from detection.heads.scorer import SoftmaxScorer
from detection.model_io import load_detector
from detection.proposals.search import warn_of_other_backend
from detection.proposals.timed_search import TimedSearch
from detection.serving.answers import Answer, Found, ModelAnswer, ModelCard
from detection.structures import Detections, Image, Proposals

_WARM_UP = Image(
    image_id="warm-up",
    pixels=torch.from_numpy(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)),
)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Upload:
    """A file that came in, not yet decoded.

    Attributes:
        name: of the file, for messages.
        data: its bytes.
    """

    name: str
    data: bytes


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Served:
    """One detector with a clock around its stages.

    Attributes:
        card: its description in the API.
        detector: instrumented.
        clock: of its stages.
    """

    card: ModelCard
    detector: Detector | Ensemble
    clock: StageClock

    def answer(self, image: Image, proposals: Proposals) -> ModelAnswer:
        """Detect, and time it."""
        self.clock.reset()
        start = time.perf_counter()
        detections = self.detector.detect(image, proposals)
        seconds = time.perf_counter() - start
        stages = self.clock.reset()
        stages["suppression"] = max(0.0, seconds - sum(stages.values()))
        return ModelAnswer(
            name=self.card.name,
            method=self.card.method,
            detections=answer_detections(detections, self.card.class_names),
            stages={name: stages[name] for name in STAGES if name in stages},
            seconds=seconds,
        )


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Service:
    """Detectors that all score the same boxes of an image.

    Attributes:
        models: the detectors.
        config: how images are decoded and proposals searched, for all of them.
        search: finds the boxes; within ``proposals.time_limit``, if there is one.
    """

    models: tuple[Served, ...]
    config: Config
    search: TimedSearch = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the search."""
        search = TimedSearch(self.config.proposals, threads=torch.get_num_threads())
        object.__setattr__(self, "search", search)

    def answer(self, upload: Upload) -> Answer:
        """Decode an image, search its boxes and let every detector score them.

        Args:
            upload: the file.

        Raises:
            DataError: if it is no image, damaged or too large, or its search takes too long.
        """
        start = time.perf_counter()
        image = decode_image(upload.data, upload.name, max_pixels=self.config.data.max_pixels)
        decoded = time.perf_counter()
        proposals = self.search.propose(image)
        proposed = time.perf_counter()
        height, width = image.size
        return Answer(
            name=upload.name,
            width=width,
            height=height,
            proposals=[(x1, y1, x2, y2) for x1, y1, x2, y2 in proposals.boxes.tolist()],
            decode_seconds=decoded - start,
            proposal_seconds=proposed - decoded,
            models=[model.answer(image, proposals) for model in self.models],
        )

    def warm_up(self) -> None:
        """Compile and allocate now what the first image would wait for."""
        proposals = self.search.propose(_WARM_UP)
        for model in self.models:
            model.answer(_WARM_UP, proposals)


def load_service(runs: Sequence[Path], config: Config, *, device: str = "auto") -> Service:
    """Read the detectors of some runs.

    Args:
        runs: folders that ``detection train`` wrote, or their model files.
        config: how images are decoded and proposals searched.
        device: ``cpu``, ``cuda``, ``auto``.

    Raises:
        CheckpointError: if a model is missing or damaged.
    """
    detectors = [load_detector(run, device=device) for run in runs]
    for detector in detectors:
        warn_of_other_backend(detector.config.proposals, config.proposals)
    names = distinct_names([run if run.is_dir() else run.parent for run in runs])
    models = [serve_detector(d, name) for d, name in zip(detectors, names, strict=True)]
    return Service(models=tuple(models), config=config)


def serve_detector(detector: Detector, name: str) -> Served:
    """Put a clock around a detector's stages; its extractor is changed in place."""
    config = detector.config
    card = ModelCard(
        name=name,
        method=config.features.method,
        backbone=config.backbone.name,
        layer=config.features.layer,
        scores="softmax" if isinstance(detector.scorer, SoftmaxScorer) else "svm",
        class_names=list(detector.class_names),
        threshold=detector.decision_threshold,
        calibrated=detector.calibration is not None,
    )
    clock = StageClock(detector.extractor.device)
    return Served(card=card, detector=combine([instrument(detector, clock)]), clock=clock)


def answer_detections(detections: Detections, class_names: Sequence[str]) -> list[Found]:
    """Return detections in the API's form, best first."""
    known = detections.probabilities
    probabilities = [None] * len(detections.labels) if known is None else known.tolist()
    rows = zip(
        detections.labels.tolist(),
        detections.scores.tolist(),
        probabilities,
        detections.boxes.tolist(),
        strict=True,
    )
    return [
        Found(
            class_name=class_names[label],
            label=label,
            score=score,
            probability=probability,
            box=(x1, y1, x2, y2),
        )
        for label, score, probability, (x1, y1, x2, y2) in rows
    ]


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Return a unique name per folder, numbered where two are alike."""
    names: list[str] = []
    for folder in folders:
        base = name = folder.resolve().name or "run"
        number = 2
        while name in names:
            name, number = f"{base}-{number}", number + 1
        names.append(name)
    return names
