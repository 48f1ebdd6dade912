"""The method itself, in the order of the papers; R-CNN and SPPnet differ in ``extractor`` alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.boxes import clip, decode_deltas, flip
from detection.config import Config
from detection.conversion import ImageLike, to_image
from detection.features.extractor import FeatureExtractor
from detection.features.factory import make_extractor
from detection.features.memory import extract_within_memory
from detection.heads.bbox_regressor import BBoxRegressors
from detection.heads.layer import FcLayer, fc_kind
from detection.heads.scorer import Scorer
from detection.proposals.search import propose
from detection.structures import Detections, Image, Proposals, RoIFeatures, Size
from detection.windows import ScoredWindows, average_with_mirrored


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Detector:
    """A trained detector.

    Attributes:
        class_names: label -> name.
        config: how it was trained, and how it is applied.
        extractor: from boxes to pool5.
        fc: from pool5 to the layer that the scorer reads; the identity where it reads pool5.
        scorer: normalisation and SVMs, or softmax.
        regressors: one a class, reading pool5 or what the scorer reads; None without.
    """

    class_names: tuple[str, ...]
    config: Config
    extractor: FeatureExtractor
    fc: Callable[[Float[Tensor, "u d"]], Float[Tensor, "u f"]]
    scorer: Scorer
    regressors: BBoxRegressors | None

    def detect(self, image: ImageLike, proposals: Proposals | None = None) -> Detections:
        """Find the objects of every class in one image (RC §2.2, SPP §4.1).

        Args:
            image: the photograph: an `Image`, an array of RGB, a picture of Pillow's, a path.
            proposals: its boxes; None runs selective search as configured.

        Raises:
            DataError: if the image cannot be read.

        Examples:
            >>> import numpy as np
            >>> from detection.tiny import tiny_detector
            >>> pixels = np.full((120, 160, 3), 200, dtype=np.uint8)
            >>> pixels[30:90, 40:110] = (30, 60, 200)
            >>> found = tiny_detector().detect(pixels)
            >>> found.boxes.shape == (len(found.scores), 4)
            True
            >>> set(found.to_arrays()["data"]["class_name"]) <= {"cat", "dog"}
            True
        """
        image = to_image(image, max_pixels=self.config.data.max_pixels)
        boxes = (proposals or propose(image, self.config.proposals)).boxes
        image = image.to(self.device)
        with torch.no_grad():
            windows = self.windows(image, boxes)
            found = windows.suppressed(self.config.postprocess, image.image_id)
        return replace(found, class_names=self.class_names)

    def detect_each(self, images: Iterable[ImageLike]) -> Iterator[Detections]:
        """Find the objects of image after image; each is read when its turn comes.

        Raises:
            DataError: at an image that cannot be read.

        Examples:
            >>> import numpy as np
            >>> from detection.tiny import tiny_detector
            >>> images = [np.full((64, 96, 3), value, dtype=np.uint8) for value in (0, 128)]
            >>> [found.image_id for found in tiny_detector().detect_each(images)]
            ['image', 'image']
        """
        return (self.detect(image) for image in images)

    @property
    def device(self) -> torch.device:
        """Where everything between the image and its detections is computed."""
        return self.extractor.network.device

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
        target = extractor.network.device
        fc = self.fc
        if isinstance(fc, FcLayer):
            fc = fc.to(target, fc_kind(features, extractor.network.dtype))
        return replace(
            self,
            config=replace(self.config, features=features),
            extractor=extractor,
            fc=fc,
            scorer=self.scorer.to(target),
            regressors=self.regressors.to(target) if self.regressors else None,
        )

    def with_config(self, config: Config) -> Detector:
        """Give the same detector with other thresholds, proposals or data; the rest stays."""
        return replace(self, config=config)

    def windows(self, image: Image, boxes: Float[Tensor, "r 4"]) -> ScoredWindows:
        """Score every box of an image for every class; suppression comes later.

        Args:
            image: the photograph.
            boxes: image pixels.

        Returns:
            On the device of the network.
        """
        boxes = boxes.to(self.device)
        pool5 = extract_within_memory(self.extractor, image, boxes)  # the one line that differs
        windows = self.score(pool5, boxes, image.size)
        if not self.config.postprocess.flip:
            return windows
        mirror, width = image.mirrored(), image.size[1]
        mirrored_boxes = flip(boxes, width)
        pool5 = extract_within_memory(self.extractor, mirror, mirrored_boxes)
        mirrored = self.score(pool5, mirrored_boxes, image.size)
        return average_with_mirrored(windows, mirrored, width)

    def score(self, pool5: RoIFeatures, boxes: Float[Tensor, "r 4"], size: Size) -> ScoredWindows:
        """Score pooled RoIs.

        Args:
            pool5: one vector a box.
            boxes: image pixels, on the device of the vectors.
            size: (height, width) of the image.
        """
        features = pool5.map(self.fc)
        scores = features.map(self.scorer.score).expand()  # (r, k)

        def refine(rows: Int[Tensor, " m"], labels: Int[Tensor, " m"]) -> Float[Tensor, "m 4"]:
            if self.regressors is None or not self.config.postprocess.regression:
                return boxes[rows]
            read = pool5 if self.regressors.reads == "pool5" else features
            deltas = self.regressors.deltas_of(read.values[read.rows[rows]], labels)
            return clip(decode_deltas(boxes[rows], deltas), size)

        return ScoredWindows(boxes=boxes, scores=scores, refine=refine)

    def classify(
        self, pool5: RoIFeatures, boxes: Float[Tensor, "r 4"], *, image_id: str, size: Size
    ) -> Detections:
        """Score pooled RoIs, suppress, move the boxes that are left, suppress again.

        Args:
            pool5: one vector a box.
            boxes: image pixels.
            image_id: of the image.
            size: (height, width) of the image.
        """
        return self.score(pool5, boxes, size).suppressed(self.config.postprocess, image_id)

    @staticmethod
    def load(run: Path | str, *, device: str = "auto") -> Detector:
        """Read a trained detector from its run folder or model file.

        Args:
            run: the folder that ``detection train`` wrote, or its ``model.safetensors``.
            device: ``cpu``, ``cuda``, ``auto``.

        Raises:
            CheckpointError: if the file is missing, damaged or of another version.

        Examples:
            >>> import tempfile
            >>> import numpy as np
            >>> from detection.model_file import save_detector
            >>> from detection.tiny import tiny_detector
            >>> with tempfile.TemporaryDirectory() as run:
            ...     save_detector(Path(run) / "model.safetensors", tiny_detector())
            ...     detector = Detector.load(run, device="cpu")
            >>> detector.class_names
            ('cat', 'dog')
            >>> rows = detector.detect(np.zeros((64, 96), dtype=np.uint8)).to_coco(image_id=7)
            >>> {row["image_id"] for row in rows} <= {7}
            True
        """
        from detection.model_file import load_detector  # the file format knows the detector

        return load_detector(Path(run), device=device)
