"""Commands on classifiers of whole images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from detection.cli.command import (
    RESTART,
    TRACKER,
    Command,
    defaults,
    flag,
    folder,
    of_run,
    option,
    restart,
)
from detection.config import Config


def pretrain(options: argparse.Namespace, config: Config) -> None:
    """Train a classifier with a pyramid on top, whose trunk a detector can start from."""
    if not options.resume:  # what is trained already needs no images
        _require_images(config, "train", "test")
    from detection.classification.pretrain import pretrain as run
    from detection.runs.interruption import says_how_to_resume

    with says_how_to_resume("pretrain", options.out):
        run(config, options.out, trackers=options.tracker or (), **restart(options))
    print(f"{options.out}: trained; next: detection classify-views {options.out}")


def _require_images(config: Config, *splits: Literal["train", "test"]) -> None:
    """Raise DataError if the folders of labelled images are not there."""
    from detection.data.roots import require_class_folders, require_roots

    settings = config.pretrain
    if settings.source != "folder":
        require_roots(config.data, *splits)
        return
    for split in splits:
        folder = settings.train_folder if split == "train" else settings.test_folder
        require_class_folders(Path(settings.root) / folder)


def classify_views(options: argparse.Namespace, config: Config) -> None:
    """Test a trained classifier with one view of each image, or many.

    Settings start from those of the run.
    """
    from detection.runs.folder import model_file

    model_file(options.run, "classifier")
    _require_images(config, "test")
    from detection.classification.evaluate import classify_views as run

    run(options.run, config, options.out)


def classify_eval(options: argparse.Namespace, config: Config) -> None:
    """Train and test linear SVMs on features of whole images (SPP §3.2, §3.3)."""
    from detection.data.roots import require_class_folders, require_roots

    source = config.classify.svm_source
    if source == "folder":
        require_class_folders(Path(config.classify.svm_root))
    elif source == "objects":
        require_roots(config.data, "train")
    else:
        require_roots(config.data, "train", "test")
    from detection.classification.evaluate import classify_eval as run

    run(config, options.out, overwrite=options.overwrite)


CLASSIFIER_COMMANDS = {
    "pretrain": Command(
        run=pretrain,
        options=(folder("--out", "the run folder", "runs/pretrain"), *RESTART, TRACKER),
        base=defaults,
        sections=("data", "backbone", "features", "pretrain", "classify"),
    ),
    "classify-views": Command(
        run=classify_views,
        options=(
            option("run", "the folder of a trained classifier", type=Path),
            folder("--out", "where to write, instead of the run folder"),
        ),
        base=of_run,
        sections=("data", "pretrain", "classify"),
    ),
    "classify-eval": Command(
        run=classify_eval,
        options=(
            folder("--out", "the run folder", "runs/classify"),
            flag("--overwrite", "remove the run there first"),
        ),
        base=defaults,
        sections=("data", "backbone", "features", "classify", "evaluation"),
    ),
}
