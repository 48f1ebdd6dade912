"""One pass over the training images: what the SVMs and the box regressors learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.structures import Proposals, Record, RoIFeatures
from detection.training.feature_cache import FeatureSource
from detection.training.rois import LabelledRoIs, label_rois


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TrainingExample:
    """One training image with its features.

    Attributes:
        record: the image.
        rois: its proposals and objects, compared with its objects.
        pool5: of every RoI.
    """

    record: Record
    rois: LabelledRoIs
    pool5: RoIFeatures


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TrainingImages:
    """Training images, their proposals, and where features come from.

    Attributes:
        records: the images.
        proposals: returns the boxes of a record.
        source: computes the features of boxes.
        class_names: label -> name.
        difficult: train on difficult objects too.
    """

    records: Sequence[Record]
    proposals: Callable[[Record], Proposals]
    source: FeatureSource
    class_names: tuple[str, ...]
    difficult: bool

    def rois(self, record: Record) -> LabelledRoIs:
        """Compare the proposals of an image with its objects."""
        boxes = self.proposals(record).boxes
        return label_rois(boxes, record.truth, len(self.class_names), difficult=self.difficult)

    def examples(self) -> Iterator[TrainingExample]:
        """Yield every image with the features of all its proposals and objects."""
        rois = [self.rois(record) for record in self.records]
        features = self.source.pool5(self.records, (r.boxes for r in rois))
        for record, its_rois, pool5 in zip(self.records, rois, features, strict=True):
            yield TrainingExample(record=record, rois=its_rois, pool5=pool5)

    def positives(
        self, min_iou: float = 1.0
    ) -> Iterator[tuple[Record, RoIFeatures, Int[Tensor, " r"]]]:
        """Yield every image that has objects, with their features and classes.

        Args:
            min_iou: proposals that overlap an object by this much come with them; 1 leaves them
                out.
        """
        records, boxes, labels = [], [], []
        for record in self.records:
            rois = self.rois(record)
            near = rois.best_iou >= min_iou if min_iou < 1 else rois.is_object
            chosen = (near | rois.is_object).nonzero().flatten()
            if len(chosen):
                records.append(record)
                boxes.append(rois.boxes[chosen])
                labels.append(rois.gt_labels[rois.matched_gt[chosen]])
        yield from zip(records, self.source.pool5(records, boxes), labels, strict=True)

    def random_boxes(self, num_boxes: int, seed: int) -> Iterator[TrainingExample]:
        """Yield every image with the features of a few of its proposals.

        Args:
            num_boxes: at most so many of each image.
            seed: of the drawing.
        """
        random = torch.Generator().manual_seed(seed)
        records, chosen = [], []
        for record in self.records:
            boxes = self.proposals(record).boxes
            if len(boxes):
                records.append(record)
                drawn = torch.randperm(len(boxes), generator=random)[:num_boxes]
                chosen.append(label_rois(boxes[drawn], record.truth, len(self.class_names)))
        features = self.source.pool5(records, (rois.boxes for rois in chosen))
        for record, rois, pool5 in zip(records, chosen, features, strict=True):
            yield TrainingExample(record=record, rois=rois, pool5=pool5)

    def sample(self, num_images: int, num_boxes: int, seed: int) -> Iterator[RoIFeatures]:
        """Return the features of a random sample of boxes of a random sample of images.

        Args:
            num_images: at most so many.
            num_boxes: at most so many of each.
            seed: of the drawing.
        """
        random = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.records), generator=random)[:num_images].tolist()
        records = [self.records[i] for i in sorted(order)]
        boxes: list[Float[Tensor, "r 4"]] = []
        for record in records:
            proposals_of_image = self.proposals(record).boxes
            boxes.append(
                proposals_of_image[
                    torch.randperm(len(proposals_of_image), generator=random)[:num_boxes]
                ]
            )
        yield from self.source.pool5(records, boxes)
