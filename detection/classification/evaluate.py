"""Trained classifiers at work: views of a test image, and SVMs on a network's features."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from detection.backbones.weights import load_backbone
from detection.classification.batches import read_labelled_images, with_lists_of
from detection.classification.dataset import (
    ClassificationSet,
    cut_out_objects,
    image_level_labels,
    keep_largest,
    read_examples,
    read_image_folder,
)
from detection.classification.model_io import TrainedClassifier, load_classifier
from detection.classification.splits import draw_splits, score_splits
from detection.classification.training import count_right
from detection.classification.view_scores import view_probabilities
from detection.classification.whole_image import (
    example_features,
    image_features,
    make_whole_image_extractor,
)
from detection.config import Config, SvmConfig
from detection.data.dataset import read_dataset
from detection.errors import ConfigError, require
from detection.evaluation.bootstrap import bootstrap_map
from detection.evaluation.matching import ClassMatches
from detection.evaluation.voc_ap import RULES, Rule, VocResult, score_matches
from detection.features.factory import EXTRACTORS
from detection.features.sppnet import SppExtractor
from detection.heads.svm import fit_linear_svms
from detection.io.device import resolve_device
from detection.io.files import write_json_atomic
from detection.io.progress import track
from detection.runs.folder import open_run, reopen_run
from detection.words import counted

_LOG = logging.getLogger(__name__)


def classify_views(run_folder: Path, config: Config, out: Path | None = None) -> dict[str, Any]:
    """Test a trained classifier with each of ``classify.views``; return what metrics.json holds.

    Args:
        run_folder: of the classifier.
        config: the run's own, with departures in ``data``, ``pretrain.root``,
            ``pretrain.test_folder`` and ``classify``.
        out: where to write metrics.json; None writes into the run folder.

    Raises:
        DetectionError: naming what a user can mend.
    """
    with reopen_run(run_folder) as run:
        trained = load_classifier(run.model)
        listed = with_lists_of(run.path, config)
        test_set = read_labelled_images(listed, "test", trained.class_names)
        right = count_right_views(trained, test_set, config)
        count = len(test_set.examples)
        views = {view: _accuracies(counts.tolist(), count) for view, counts in right.items()}
        for view, row in views.items():
            errors = row["top1_error"], row["top5_error"]
            _LOG.info("%-14s top-1 error %.4f  top-5 error %.4f", view, *errors)
        values = {
            "task": "classification",
            "split": test_set.name,
            "num_pictures": count,
            "class_names": list(trained.class_names),
            "views": views,
        }
        write_json_atomic((out or run.path) / "metrics.json", values)
    return values


def count_right_views(
    trained: TrainedClassifier, test_set: ClassificationSet, config: Config
) -> dict[str, Float[Tensor, "2"]]:
    """Count for each of ``classify.views`` the images that are recognised: first, among five."""
    model = trained.model.to(resolve_device(config.features.device)).eval()
    right = {view: torch.zeros(2) for view in config.classify.views}
    images = read_examples(test_set.examples, max_pixels=config.data.max_pixels)
    progress = track(images, len(test_set.examples), "classify")
    for example, image in zip(test_set.examples, progress, strict=True):
        pixels = image.pixels.permute(2, 0, 1).contiguous()
        label = torch.tensor([example.label])
        for view in right:
            chances = view_probabilities(
                model, pixels, view, trained.config.pretrain, config.classify
            )
            right[view] += count_right(chances[None].cpu(), label)
    return right


def _accuracies(right: Sequence[float], count: int) -> dict[str, float]:
    """Return accuracies and errors with their standard error over the images."""
    top1, top5 = (correct / count for correct in right)
    return {
        "top1": top1,
        "top5": top5,
        "top1_error": 1 - top1,
        "top5_error": 1 - top5,
        "standard_error": (top1 * (1 - top1) / count) ** 0.5,
    }


def classify_eval(config: Config, out: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Train linear SVMs on features of whole images, and score them; return metrics.json.

    The SVMs read ``features.layer``, scaled to length 1. With ``classify.svm_source`` ``images`` an
    image is positive for the classes it shows, and neither for a class of which it shows difficult
    objects only (SPP §3.2). Otherwise each image has one class, and the accuracy is the mean over
    random splits (SPP §3.3).

    Args:
        config: ``data``, ``backbone``, ``features`` (layer, levels, one scale) and
            ``classify.svm_*``.
        out: the run folder, new or empty.
        overwrite: start anew in a folder that holds a run.

    Raises:
        DetectionError: naming what a user can mend.
    """
    resolve_device(config.features.device)  # a device that is not there is said before anything
    _refuse_method(config)
    score = _score_images if config.classify.svm_source == "images" else _score_splits
    with open_run(out, config, overwrite=overwrite) as run:
        values = score(config) | {
            "view": config.classify.svm_view,
            "short_side": config.features.scales[0],
            "layer": config.features.layer,
        }
        write_json_atomic(run.metrics, values)
    return values


def _score_images(config: Config) -> dict[str, Any]:
    """Train on the images of a data set with boxes, and rank those of its test list."""
    train_set = read_dataset(config.data, "train")
    test_set = read_dataset(config.data, "test", class_names=train_set.class_names)
    extractor = make_whole_image_extractor(load_backbone(config.backbone), config)
    svms = fit_linear_svms(
        image_features(train_set, extractor, config),
        image_level_labels(train_set),
        _svm_config(config),
        class_names=train_set.class_names,
    )
    scores = svms.score(image_features(test_set, extractor, config))
    matches = match_images(scores, image_level_labels(test_set))
    values = {
        "task": "image classification",
        "split": test_set.name,
        "num_images": len(test_set.records),
        "class_names": list(train_set.class_names),
        **_image_metrics(matches, train_set.class_names, config),
    }
    means = ", ".join(f"{rule} {100 * mean:.1f}" for rule, mean in values["map"].items())
    count = counted(len(test_set.records), "image")
    _LOG.info("%s: %s, mean average precision %s", test_set.name, count, means)
    return values


def _score_splits(config: Config) -> dict[str, Any]:
    """Train and test on random splits of images that have one class each."""
    if config.classify.svm_source == "folder":
        images = read_image_folder(Path(config.classify.svm_root))
    else:
        images = keep_largest(cut_out_objects(read_dataset(config.data, "train")))
    labels = torch.tensor([example.label for example in images.examples])
    splits = draw_splits(labels, config.classify, images.class_names)
    extractor = make_whole_image_extractor(load_backbone(config.backbone), config)
    features = example_features(images, extractor, config)
    scored = score_splits(features, labels, splits, _svm_config(config), images.class_names)
    values = {
        "task": "image classification on random splits",
        "split": images.name,
        "num_images": len(images.examples),
        "class_names": list(images.class_names),
        **scored,
    }
    deviation = scored["deviation"]
    spread = "" if deviation is None else f", standard deviation {100 * deviation:.1f}"
    count = counted(len(splits), "split")
    _LOG.info("%s: %s, accuracy %.1f%s", images.name, count, 100 * scored["accuracy"], spread)
    return values


def _svm_config(config: Config) -> SvmConfig:
    c = config.classify.svm_c
    return SvmConfig(solver="sklearn", c=c, positive_weight=1.0, bias_multiplier=1.0)


def _image_metrics(
    matches: Sequence[ClassMatches], class_names: Sequence[str], config: Config
) -> dict[str, Any]:
    """Return the average precision of ranked images by each rule, over and by classes."""
    results: dict[Rule, VocResult] = {
        rule: score_matches(matches, class_names, rule=rule) for rule in RULES
    }
    resamplings = config.evaluation.bootstrap
    interval = None
    if resamplings:
        interval = bootstrap_map(matches, resamplings=resamplings, seed=config.evaluation.seed)
    return {
        "map": {rule: result.map for rule, result in results.items()},
        "interval": interval,
        "per_class": {
            name: {rule: result.ap[label] for rule, result in results.items()}
            for label, name in enumerate(class_names)
        },
        "rule": {
            rule: f"{words}, over images; those with difficult objects only are ignored"
            for rule, words in RULES.items()
        },
    }


def _refuse_method(config: Config) -> None:
    """Refuse what used to leave out the pyramid, and what samples boxes.

    Raises:
        ConfigError: if the method is one that sees no whole image, or pools other than by maxima.
    """
    method = config.features.method
    if EXTRACTORS[method] is not SppExtractor:
        message = (
            f"features.method: expected sppnet to classify images, got {method!r}; "
            "classify.svm_pool last_pool leaves out the pyramid"
        )
        raise ConfigError(message)
    pooling = config.features.pooling
    require(pooling == "max", "features.pooling", "max to classify images", pooling)


def match_images(scores: Float[Tensor, "n k"], labels: Int[Tensor, "n k"]) -> list[ClassMatches]:
    """Rank the images of each class, as the VOC devkit's classification task does.

    Args:
        scores: any, higher for images more likely to show the class.
        labels: 1 shown, -1 absent, 0 ignored.

    Source:
        VOCevalcls.m of the devkit.
    """
    matches = []
    for column, truth in zip(scores.numpy().T, labels.numpy().T, strict=True):
        order = np.argsort(-column, kind="stable")
        matches.append(
            ClassMatches(
                scores=column[order],
                images=order,
                boxes=np.zeros_like(order),
                outcomes=truth[order],
                objects=(truth > 0).astype(np.int64),
                difficult=int((truth == 0).sum()),
            )
        )
    return matches
