"""Random splits of one pool of labelled images, and the accuracy over them (SPP §3.3)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.config import SvmConfig
from detection.errors import DataError
from detection.heads.svm import fit_linear_svms
from detection.pretrain_config import ClassifyConfig


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Split:
    """Which images of a pool are trained on, and which are tested.

    Attributes:
        seed: that it was drawn with.
        train, test: positions in the pool, class by class; none is in both.
    """

    seed: int
    train: Int[Tensor, " a"]
    test: Int[Tensor, " b"]


def draw_splits(
    labels: Int[Tensor, " n"], config: ClassifyConfig, class_names: Sequence[str]
) -> list[Split]:
    """Draw the random splits of a pool.

    Of each class ``svm_train_images`` are trained on and up to ``svm_test_images`` of the others
    are tested. The seeds are ``seed``, ``seed + 1`` and so on, so that each split can be drawn
    alone.

    Args:
        labels: of the images of the pool, 0..K-1.
        config: how many splits, and of how many images.
        class_names: label -> name.

    Raises:
        DataError: if a class has no image left to test.

    Source:
        SPP §3.3.
    """
    need = config.svm_train_images + 1
    counts = torch.bincount(labels, minlength=len(class_names)).tolist()
    for name, count in zip(class_names, counts, strict=True):
        if count < need:
            message = (
                f"class {name!r}: expected at least {need} images, classify.svm_train_images and "
                f"one to test, got {count}; add some or lower classify.svm_train_images"
            )
            raise DataError(message)
    seeds = range(config.seed, config.seed + config.svm_splits)
    return [_draw(labels, config, len(class_names), seed) for seed in seeds]


def _draw(labels: Tensor, config: ClassifyConfig, num_classes: int, seed: int) -> Split:
    generator = np.random.default_rng(seed)
    first, last = config.svm_train_images, config.svm_train_images + config.svm_test_images
    train, test = [], []
    for label in range(num_classes):
        members = (labels == label).nonzero().flatten().numpy()
        drawn = torch.from_numpy(generator.permutation(members))
        train.append(drawn[:first])
        test.append(drawn[first:last])
    return Split(seed=seed, train=torch.cat(train), test=torch.cat(test))


def class_accuracies(
    predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"], num_classes: int
) -> Float[Tensor, " k"]:
    """Return the share of each class's images that are recognised; NaN of a class without any."""
    right = torch.bincount(labels[predicted == labels], minlength=num_classes).double()
    return right / torch.bincount(labels, minlength=num_classes)


def score_splits(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    splits: Sequence[Split],
    svm: SvmConfig,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Train SVMs on each split, one against the rest, and return how often they are right.

    An image is of the class whose SVM scores it highest. The accuracy of a split is the mean over
    the classes, so that a class of many images counts no more than another.

    Args:
        features: one vector an image of the pool.
        labels: of the same images.
        splits: of the pool.
        svm: the solver and its constants.
        class_names: label -> name.
    """
    rows = []
    for split in splits:
        targets = 2 * torch.nn.functional.one_hot(labels[split.train], len(class_names)) - 1
        svms = fit_linear_svms(features[split.train], targets, svm, class_names=class_names)
        predicted = svms.score(features[split.test]).argmax(dim=1)
        rows.append(class_accuracies(predicted, labels[split.test], len(class_names)))
    means = [float(row.mean()) for row in rows]
    per_class = torch.stack(rows).mean(dim=0).tolist()
    return {
        "accuracy": statistics.fmean(means),
        "deviation": statistics.stdev(means) if len(means) > 1 else None,
        "splits": [
            {
                "seed": split.seed,
                "accuracy": mean,
                "num_train": len(split.train),
                "num_test": len(split.test),
            }
            for split, mean in zip(splits, means, strict=True)
        ],
        "per_class": dict(zip(class_names, per_class, strict=True)),
    }
