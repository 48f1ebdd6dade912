"""The images of a classifier's training: which ones, in which order, in which batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from detection.classification.augment import (
    ColourAxes,
    augment,
    draw,
    epoch_order,
    fit_colours,
    input_side,
    resize_short_side,
)
from detection.classification.dataset import (
    ClassificationSet,
    cut_out_objects,
    read_examples,
    read_image_folder,
)
from detection.config import Config
from detection.data.dataset import read_dataset
from detection.data.kept_lists import with_kept_lists
from detection.errors import DataError
from detection.pretrain_config import PretrainConfig

COLOUR_SAMPLE = 1000
"""Images that the colour axes are measured on, at most (ours)."""

Key = tuple[int, int]
"""(epoch, index of the image)."""


class Batch(NamedTuple):
    """Images of one step.

    Attributes:
        pixels: RGB, all of one size.
        strengths: of the change of each one's colours.
        labels: 0..K-1.
        indexes: of the images in their set.
    """

    pixels: UInt8[Tensor, "n 3 s s"]
    strengths: Float[Tensor, "n 3"]
    labels: Int[Tensor, " n"]
    indexes: Int[Tensor, " n"]


def with_lists_of(run: Path, config: Config, *, write: bool = False) -> Config:
    """Return the configuration that reads the lists which were drawn for a run.

    Args:
        run: the run folder.
        config: ``pretrain.source`` and ``data``; folders of images have no drawn lists.
        write: draw and keep the lists where the run has none yet.

    Raises:
        DataError: if the data cannot be read, or the lists not be written.
    """
    if config.pretrain.source == "folder":
        return config
    return replace(config, data=with_kept_lists(config.data, run, write=write))


def read_labelled_images(
    config: Config, split: str, class_names: Sequence[str] = ()
) -> ClassificationSet:
    """Read the labelled images that a configuration names.

    Args:
        config: ``pretrain.source``, and what that needs.
        split: ``train`` or ``test``.
        class_names: label order; empty takes the folders' or the configuration's.

    Raises:
        DataError: where there are none, or a class is unknown or empty.
    """
    settings = config.pretrain
    if settings.source == "folder":
        folder = settings.train_folder if split == "train" else settings.test_folder
        return read_image_folder(Path(settings.root) / folder, class_names=class_names)
    dataset = read_dataset(
        config.data, "train" if split == "train" else "test", class_names=class_names
    )
    images = cut_out_objects(
        dataset, context=settings.context, with_difficult=config.data.train_difficult
    )
    if not images.examples:
        message = f"{dataset.name}: expected objects to cut out, got none; choose another split"
        raise DataError(message)
    return images


class LabelledImages(Dataset[Batch]):
    """Images, resized, and kept in memory as far as it reaches.

    Args:
        examples: where the pixels are.
        config: the size and the augmentation.
        max_pixels: limit of the image reader.
    """

    def __init__(
        self, examples: ClassificationSet, config: PretrainConfig, *, max_pixels: int
    ) -> None:
        self.examples = examples.examples
        self.labels = torch.tensor([example.label for example in examples.examples])
        self._config = config
        self._max_pixels = max_pixels
        self._budget = int(config.memory_gib * 2**30) // max(config.workers, 1)
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        """Count the images."""
        return len(self.examples)

    def __getitem__(self, key: Key) -> Batch:
        """Return one image as augmented in one epoch."""
        epoch, index = key
        drawn = draw(self._config, epoch, index)
        side = input_side(self._config, epoch)
        return Batch(
            pixels=augment(self.resized(index), self._config, side, drawn),
            strengths=torch.tensor(drawn.strengths),
            labels=self.labels[index],
            indexes=torch.tensor(index),
        )

    def resized(self, index: int) -> UInt8[Tensor, "3 h w"]:
        """Return a whole image with the configured shorter side.

        Raises:
            DataError: if it cannot be read.
        """
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        image = next(read_examples([self.examples[index]], max_pixels=self._max_pixels))
        pixels = image.pixels.permute(2, 0, 1).contiguous()
        resized = resize_short_side(pixels, self._config.short_side, self._config.crop)
        if resized.numel() <= self._budget:
            self._budget -= resized.numel()
            self._kept[index] = resized
        return resized

    def colours(self) -> ColourAxes:
        """Return the principal components of the colours, sampled if there are many images."""
        order = np.random.default_rng([self._config.seed, 4]).permutation(len(self))
        return fit_colours(self.resized(int(index)) for index in order[:COLOUR_SAMPLE])


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """Which images each step takes. Everything follows from the number of the step.

    Attributes:
        config: the batch size and the seed.
        count: images.
        rank, ranks: of this process among those that share each step's batch.
    """

    config: PretrainConfig
    count: int
    rank: int = 0
    ranks: int = 1

    @property
    def steps_an_epoch(self) -> int:
        """The last one may be smaller."""
        return -(-self.count // self.config.batch_size)

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.steps_an_epoch * self.config.epochs

    def epoch(self, step: int) -> int:
        """Return the epoch that a step belongs to."""
        return step // self.steps_an_epoch

    def batch_size(self, step: int) -> int:
        """Return the number of images per step over all processes."""
        done = step % self.steps_an_epoch * self.config.batch_size
        return min(self.config.batch_size, self.count - done)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step: divided by ten after each of ``decay_at``."""
        falls = sum(step >= part * self.steps for part in self.config.decay_at)
        return float(self.config.learning_rate * 0.1**falls)

    def batches(self, first: int) -> Iterator[list[Key]]:
        """Yield this process's keys, batch by batch, from a step on."""
        for epoch in range(self.epoch(first), self.config.epochs):
            order = epoch_order(self.config, epoch, self.count)
            start = first % self.steps_an_epoch if epoch == self.epoch(first) else 0
            for position in range(start, self.steps_an_epoch):
                begin = position * self.config.batch_size
                batch = order[begin : begin + self.config.batch_size]
                yield [(epoch, index) for index in batch[self.rank :: self.ranks]]


class _Keys(Sampler[list[Key]]):
    """A plan from a step on, as torch's loader wants it."""

    def __init__(self, plan: BatchPlan, first: int) -> None:
        self._plan = plan
        self._first = first

    def __iter__(self) -> Iterator[list[Key]]:
        return self._plan.batches(self._first)


def load_batches(images: LabelledImages, plan: BatchPlan, first: int) -> Iterator[Batch]:
    """Yield the batches from step ``first`` on, prefetched if there are workers.

    As many workers as were asked for, even if there are fewer cores: torch's advice is left out.
    """
    workers = plan.config.workers
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        return iter(
            DataLoader(
                images,
                batch_sampler=_Keys(plan, first),
                num_workers=workers,
                persistent_workers=workers > 0,
                pin_memory=torch.cuda.is_available(),
                generator=torch.Generator().manual_seed(0),
            )
        )
