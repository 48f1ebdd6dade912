"""Test-time augmentation around the detector: views of the image, and several detectors as one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detection.boundary import inputs, remembers_file, with_probabilities
from detection.boxes import flip
from detection.config import Config, PostprocessConfig
from detection.data.image_like import ImageLike
from detection.detector import Detector
from detection.errors import ConfigError, require
from detection.features.memory import extract_within_memory
from detection.heads.calibration import Calibration
from detection.postprocess import Candidates, finalize, select_candidates
from detection.proposals.search import warn_of_other_backend
from detection.structures import Detections, Image, Proposals, RoIFeatures

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Ensemble:
    """Detectors of the same classes that decide together, with the ``detect`` of a detector.

    Every member scores every box; its scores and regressed boxes are means over the views of the
    image: its mirror image with ``postprocess.flip``, several sizes with ``postprocess.scales``.
    The union of the members' scored boxes is then
    suppressed as if it came from one detector (SPP §4.4).

    Attributes:
        class_names: label -> name.
        config: how it is applied: proposals, suppression, evaluation.
        members: the detectors; networks that began from different weights combine best (SPP §4.4).
    """

    class_names: tuple[str, ...]
    config: Config
    members: tuple[Detector, ...]

    @property
    def decision_threshold(self) -> float:
        """The probability or score from which a detection is worth drawing.

        That of the member where there is one; the scores of several have no common calibration.
        """
        if self.calibration:
            return self.calibration.threshold
        return self.members[0].scorer.decision_threshold

    @property
    def calibration(self) -> Calibration | None:
        """From scores to probabilities: that of the only member, None with several."""
        return self.members[0].calibration if len(self.members) == 1 else None

    @property
    def device(self) -> torch.device:
        """Where everything between the image and its detections is computed."""
        return self.members[0].device

    def __repr__(self) -> str:
        """Return its members, one after the other."""
        return "\n".join([f"Ensemble of {len(self.members)}:", *map(repr, self.members)])

    @remembers_file
    def detect(self, image: ImageLike, proposals: Proposals | None = None) -> Detections:
        """Detect the objects of every class in one image.

        Args:
            image: an `Image`, an array of RGB, a Pillow image, or a path.
            proposals: its boxes; None runs selective search as configured.

        Raises:
            DataError: if the image cannot be read.
        """
        image, boxes = inputs(image, proposals, self.config, self.device)
        with torch.no_grad():
            views = [score(member, image, boxes, self.config) for member in self.members]
            all_boxes = boxes.repeat(len(views), 1)
            all_scores = torch.cat([view.scores for view in views])
            options = self.config.postprocess
            candidates = select_candidates(all_boxes, all_scores, options, image_id=image.image_id)
            regressed = self._regress(candidates, views, image, len(boxes))
            detections = finalize(regressed, options, image_id=image.image_id)
        return with_probabilities(detections, self.class_names, self.calibration)

    def detect_each(self, images: Iterable[ImageLike]) -> Iterator[Detections]:
        """Detect the objects of image after image; each is read when its turn comes."""
        return (self.detect(image) for image in images)

    def with_config(self, config: Config) -> Detector | Ensemble:
        """Return the same detectors with other thresholds, proposals or data."""
        return combine(self.members, config)

    def to(self, device: torch.device | str) -> Ensemble:
        """Return the same detectors on another device."""
        members = tuple(member.to(device) for member in self.members)
        return replace(self, members=members)

    def _regress(
        self, candidates: Candidates, views: Sequence[ScoredBoxes], image: Image, count: int
    ) -> Candidates:
        """Move each box by the regressors of the member that scored it."""
        moved = candidates.boxes.clone()
        for index, view in enumerate(views):
            # on a GPU the host waits for the number of boxes of this member
            here = (candidates.rows // max(count, 1) == index).nonzero().flatten()
            own = candidates.at(here)
            own = replace(own, rows=own.rows - index * count)
            moved[here] = view.regressed(own, image).to(moved)
        return replace(candidates, boxes=moved)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class View:
    """All boxes of an image in one of its views.

    Attributes:
        mirrored: whether the image is.
        pool5: of each box.
        top: what the scorer reads.
    """

    mirrored: bool
    pool5: RoIFeatures
    top: RoIFeatures


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ScoredBoxes:
    """All boxes of an image as one member of an ensemble sees them.

    Attributes:
        member: with the regressors.
        scores: of each box for each class, the mean over the views.
        views: of the image.
    """

    member: Detector
    scores: Float[Tensor, "r k"]
    views: tuple[View, ...]

    def regressed(self, candidates: Candidates, image: Image) -> Float[Tensor, "m 4"]:
        """Return the regressed boxes of candidates, the mean over the views."""
        moved = [self._moved(view, candidates, image) for view in self.views]
        return moved[0] if len(moved) == 1 else torch.stack(moved).mean(dim=0)

    def _moved(self, view: View, candidates: Candidates, image: Image) -> Float[Tensor, "m 4"]:
        size, width = image.size, image.size[1]
        if not view.mirrored:
            return self.member.regress(candidates, view.pool5, view.top, size).boxes
        there = replace(candidates, boxes=flip(candidates.boxes, width))
        return flip(self.member.regress(there, view.pool5, view.top, size).boxes, width)


def score(
    member: Detector, image: Image, boxes: Float[Tensor, "r 4"], config: Config
) -> ScoredBoxes:
    """Score every box by one member, in each of the configured views of the image.

    Args:
        member: one of the detectors.
        image: on its device.
        boxes: image pixels, on its device.
        config: of the ensemble.
    """
    options, extractor = config.postprocess, member.extractor
    seen = [(False, image, boxes)]
    if options.flip:
        seen.append((True, image.mirrored(), flip(boxes, image.size[1])))
    # R-CNN's extractor is the same at every scale, and then there is one view
    at_scales = [extractor.with_scales((side,)) for side in options.scales] or [extractor]
    extractors = list(dict.fromkeys(at_scales))
    views, scores = [], []
    for mirrored, its_image, its_boxes in seen:
        for at_scale in extractors:
            pool5 = extract_within_memory(at_scale, its_image, its_boxes)
            top = pool5.map(member.fc)
            views.append(View(mirrored=mirrored, pool5=pool5, top=top))
            scores.append(top.map(member.scorer.score).expand())
    mean = scores[0] if len(scores) == 1 else torch.stack(scores).mean(dim=0)
    return ScoredBoxes(member=member, scores=mean, views=tuple(views))


def combine(detectors: Sequence[Detector], config: Config | None = None) -> Detector | Ensemble:
    """Return what applies trained detectors as configured: one of them as it is, or an ensemble.

    Args:
        detectors: of the same classes in the same order, all with SVMs or all with softmax: the
            scores of the two kinds do not compare.
        config: how they are applied; None takes that of the first.

    Raises:
        ConfigError: if they do not belong together, or have no cascade where one is wanted.
    """
    if not detectors:
        message = "combination: expected at least one detector, got none"
        raise ConfigError(message)
    first = detectors[0]
    for number, other in enumerate(detectors[1:], start=2):
        _require_alike(first, other, number)
    config = config or first.config
    _require_cascades(detectors, config)
    for detector in detectors:
        warn_of_other_backend(detector.config.proposals, config.proposals)
    if len(detectors) == 1:
        _warn_of_other_views(first, config.postprocess)
    if len(detectors) == 1 and not config.postprocess.averages_views:
        return first.with_config(config)
    members = tuple(
        member.with_config(replace(member.config, postprocess=config.postprocess))
        for member in detectors
    )
    return Ensemble(class_names=first.class_names, config=config, members=members)


def _require_alike(first: Detector, other: Detector, number: int) -> None:
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


def _require_cascades(detectors: Sequence[Detector], config: Config) -> None:
    """Raise ConfigError where a cascade is wanted and there is none, or more than one opinion."""
    if not config.cascade.enabled:
        return
    single = len(detectors) == 1 and not config.postprocess.averages_views
    what = "false for several detectors or views of an image: each would keep boxes of its own"
    require(single, "cascade.enabled", what, True)
    what = "false, as this model was trained without one; train with cascade.enabled"
    require(detectors[0].cascade is not None, "cascade.enabled", what, True)


def _warn_of_other_views(detector: Detector, options: PostprocessConfig) -> None:
    """Warn if the scores will be means over other views than those of the probabilities' fit."""
    own = detector.config.postprocess
    if detector.calibration is not None and (own.flip, own.scales) != (
        options.flip,
        options.scales,
    ):
        _LOG.warning(
            "postprocess: expected flip %s and scales %s, with which the probabilities were "
            "fitted, got %s and %s; boxes and scores are sound, probabilities may be off",
            *(own.flip, list(own.scales), options.flip, list(options.scales)),
        )
