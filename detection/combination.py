"""Several detectors as one: suppression on the union of their scored windows (SPP §4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from detection.config import Config
from detection.detector import Detector
from detection.errors import ConfigError
from detection.proposals.search import propose
from detection.structures import Detections, Image, Proposals
from detection.windows import ScoredWindows, join


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class CombinedDetector:
    """Detectors of the same classes whose windows are suppressed together.

    Attributes:
        class_names: label -> name.
        config: how it is applied: proposals, suppression, evaluation.
        members: the detectors; networks that began from different weights combine best (SPP §4.4).
    """

    class_names: tuple[str, ...]
    config: Config
    members: tuple[Detector, ...]

    def detect(self, image: Image, proposals: Proposals | None = None) -> Detections:
        """Find the objects of every class in one image.

        Args:
            image: the photograph.
            proposals: its boxes; None runs selective search as configured.
        """
        boxes = (proposals or propose(image, self.config.proposals)).boxes
        image = image.to(self.members[0].device)
        with torch.no_grad():
            windows = self.windows(image, boxes)
            return windows.suppressed(self.config.postprocess, image.image_id)

    def windows(self, image: Image, boxes: Float[Tensor, "r 4"]) -> ScoredWindows:
        """Score every box by every member: each box occurs once for each of them."""
        return join([member.windows(image, boxes) for member in self.members])

    def with_config(self, config: Config) -> CombinedDetector:
        """Give the same detectors with other thresholds, proposals or data."""
        members = tuple(
            member.with_config(replace(member.config, postprocess=config.postprocess))
            for member in self.members
        )
        return replace(self, config=config, members=members)


def combine(detectors: Sequence[Detector]) -> CombinedDetector:
    """Combine trained detectors; the first one's configuration holds for all.

    Args:
        detectors: of the same classes in the same order, all with SVMs or all with softmax: the
            scores of the two kinds do not compare.

    Raises:
        ConfigError: if they do not belong together.
    """
    if not detectors:
        message = "combination: expected at least one detector, got none"
        raise ConfigError(message)
    first = detectors[0]
    for number, other in enumerate(detectors[1:], start=2):
        if other.class_names != first.class_names:
            message = (
                f"combination: expected the classes {list(first.class_names)} in this order, got "
                f"{list(other.class_names)} from detector {number}"
            )
            raise ConfigError(message)
        if type(other.scorer) is not type(first.scorer):
            message = (
                f"combination: expected a {type(first.scorer).__name__} like the first detector's, "
                f"got a {type(other.scorer).__name__} from detector {number}; their scores do not "
                "compare"
            )
            raise ConfigError(message)
    return CombinedDetector(
        class_names=first.class_names, config=first.config, members=tuple(detectors)
    ).with_config(first.config)


def load_combined(runs: Sequence[Path], *, device: str = "auto") -> CombinedDetector:
    """Read and combine the detectors of several run folders.

    Args:
        runs: folders that ``detection train`` wrote, or their model files.
        device: ``cpu``, ``cuda``, ``auto``.

    Raises:
        CheckpointError: if a file is missing or damaged.
        ConfigError: if the detectors do not belong together.
    """
    return combine([Detector.load(run, device=device) for run in runs])
