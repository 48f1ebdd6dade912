"""The method itself, in the order of the papers; R-CNN and SPPnet differ in ``extractor`` alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detection.boundary import inputs_and_maps, remembers_file, with_probabilities
from detection.boxes import clip, decode_deltas
from detection.config import Config
from detection.data.image_like import ImageLike
from detection.features.extractor import FeatureExtractor
from detection.features.factory import make_extractor
from detection.features.memory import extract_within_memory
from detection.heads.bbox_regressor import BBoxRegressors
from detection.heads.calibration import Calibration
from detection.heads.cascade import Cascade
from detection.heads.coarse_first import pool_survivors
from detection.heads.layer import FcLayer, fc_kind
from detection.heads.scorer import Scorer
from detection.postprocess import Candidates, finalize, select_candidates
from detection.structures import Detections, Proposals, RoIFeatures, Size
from detection.words import counted

_SHOWN = 8


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Detector:
    """A trained detector.

    Attributes:
        class_names: label -> name.
        config: how it was trained, and how it is applied.
        extractor: from boxes to pool5.
        fc: from pool5 to the layer that the scorer reads; the identity where it reads pool5.
        scorer: normalisation and SVMs, or softmax.
        regressors: one per class, reading pool5 or what the scorer reads; None without.
        calibration: from scores to probabilities; None without.
        cascade: rejects boxes before fc6 where ``cascade.enabled``; None without.
    """

    class_names: tuple[str, ...]
    config: Config
    extractor: FeatureExtractor
    fc: Callable[[Float[Tensor, "u d"]], Float[Tensor, "u f"]]
    scorer: Scorer
    regressors: BBoxRegressors | None
    calibration: Calibration | None = None
    cascade: Cascade | None = None

    def __repr__(self) -> str:
        """Return what it is made of, in a few lines."""
        features, proposals = self.config.features, self.config.proposals
        parts = [
            f"{features.method} on {self.config.backbone.name}",
            f"{type(self.scorer).__name__} on {features.layer}",
            "box regression" if self.regressors is not None else "no box regression",
        ]
        names = ", ".join(self.class_names[:_SHOWN])
        more = len(self.class_names) - _SHOWN
        boxes = counted(proposals.max_boxes, "box") if proposals.max_boxes else "all boxes"
        scales = ", ".join(map(str, features.scales))
        return (
            f"Detector: {', '.join(parts)}\n"
            f"  {counted(len(self.class_names), 'class')}: {names}"
            f"{f' and {more} more' if more > 0 else ''}\n"
            f"  {boxes}, short side {scales}, on {self.device}, "
            f"decision threshold {self.decision_threshold:.2f}"
        )

    @remembers_file
    def detect(self, image: ImageLike, proposals: Proposals | None = None) -> Detections:
        """Detect the objects of every class in one image (RC §2.2, SPP §4.1).

        Args:
            image: an `Image`, an array of RGB, a Pillow image, or a path.
            proposals: its boxes; None runs selective search as configured.

        Returns:
            On the CPU, best first.

        Raises:
            DataError: if the image cannot be read.

        Examples:
            >>> import numpy as np
            >>> from detection.tiny import tiny_detector
            >>> pixels = np.full((120, 160, 3), 200, dtype=np.uint8)
            >>> pixels[30:90, 40:110] = (30, 60, 200)
            >>> detections = tiny_detector().detect(pixels)
            >>> detections.boxes.shape == (len(detections.scores), 4)
            True
            >>> set(detections.to_arrays()["data"]["class_name"]) <= {"cat", "dog"}
            True
        """
        self.config.postprocess.require_one_view()
        with torch.no_grad():
            image, boxes, maps = inputs_and_maps(image, proposals, self.config, self.extractor)
            if self.cascade is not None and self.config.cascade.enabled:
                pool5, boxes = pool_survivors(
                    self.cascade, self.config.cascade, self.extractor, image, boxes, maps
                )
                left = replace(self, cascade=None)
                return left.detect_pooled(pool5, boxes, image.size, image.image_id)
            pool5 = extract_within_memory(self.extractor, image, boxes, maps)  # the methods differ
            return self.detect_pooled(pool5, boxes, image.size, image.image_id)

    def detect_pooled(
        self, pool5: RoIFeatures, boxes: Float[Tensor, "r 4"], size: Size, image_id: str
    ) -> Detections:
        """Do all that comes after the features.

        Args:
            pool5: of each box.
            boxes: image pixels, on the device of the features.
            size: (height, width) of the image.
            image_id: of the image.
        """
        options = self.config.postprocess
        if self.cascade is not None and self.config.cascade.enabled:
            pool5, kept = self.cascade.survivors(pool5, self.config.cascade)
            boxes = boxes[kept]
        fc7 = pool5.map(self.fc)
        scores = fc7.map(self.scorer.score).expand()
        candidates = select_candidates(boxes, scores, options, image_id=image_id)
        regressed = self.regress(candidates, pool5, fc7, size)
        detections = finalize(regressed, options, image_id=image_id)
        return with_probabilities(detections, self.class_names, self.calibration)

    def regress(
        self, candidates: Candidates, pool5: RoIFeatures, fc7: RoIFeatures, size: Size
    ) -> Candidates:
        """Return the candidates with their boxes moved by the regressors of their classes.

        Args:
            candidates: their rows are those of the features.
            pool5: one vector per box.
            fc7: what the scorer reads, one vector per box.
            size: (height, width) of the image.

        Source:
            RC Appendix C.
        """
        if self.regressors is None or not self.config.postprocess.regression:
            return candidates
        features = pool5 if self.regressors.reads == "pool5" else fc7
        rows = features.rows[candidates.rows]
        deltas = self.regressors.deltas_of(features.values, candidates.labels, rows)
        moved = clip(decode_deltas(candidates.boxes, deltas, inset=self.inset), size)
        return replace(candidates, boxes=moved.to(candidates.boxes))

    @property
    def inset(self) -> float:
        """How far inside a box's edges the regressors measure its size, pixels."""
        separate = self.regressors is not None and self.regressors.reads == "pool5"
        return self.config.bbox.inset if separate else 0.0

    def detect_each(self, images: Iterable[ImageLike]) -> Iterator[Detections]:
        """Detect the objects of image after image; each is read when its turn comes.

        Raises:
            DataError: at an image that cannot be read.

        Examples:
            >>> import numpy as np
            >>> from detection.tiny import tiny_detector
            >>> images = [np.full((64, 96, 3), value, dtype=np.uint8) for value in (0, 128)]
            >>> [detections.image_id for detections in tiny_detector().detect_each(images)]
            ['image', 'image']
        """
        return (self.detect(image) for image in images)

    @property
    def decision_threshold(self) -> float:
        """The probability of the best F1 in training; without calibration, the scorer's threshold.

        That is the score 0 of SVMs and 0.5 of a softmax.
        """
        return self.calibration.threshold if self.calibration else self.scorer.decision_threshold

    @property
    def device(self) -> torch.device:
        """Where everything between the image and its detections is computed."""
        return self.extractor.device

    def to(self, device: torch.device | str) -> Detector:
        """Return the same detector on another device; this one stays where it is.

        Args:
            device: ``cpu``, ``cuda``, ``cuda:<number>``, or what else torch can allocate on.

        Raises:
            ConfigError: if there is no such device here.
        """
        features = replace(self.config.features, device=str(device))
        backbone = copy.deepcopy(self.extractor.backbone)
        extractor = make_extractor(backbone, features)
        target = extractor.device
        fc = self.fc
        if isinstance(fc, FcLayer):
            fc = fc.to(target, fc_kind(features, extractor.dtype))
        return replace(
            self,
            config=replace(self.config, features=features),
            extractor=extractor,
            fc=fc,
            scorer=self.scorer.to(target),
            regressors=self.regressors.to(target) if self.regressors else None,
            cascade=self.cascade.to(target) if self.cascade else None,
        )

    def with_config(self, config: Config) -> Detector:
        """Return the same detector with other thresholds, proposals or data; the rest stays."""
        return replace(self, config=config)
