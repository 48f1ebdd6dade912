"""Train a classifier: the conv and fc layers that a detector starts from (SPP §3.1)."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detection.classification.batches import read_labelled_images, with_lists_of
from detection.classification.dataset import ClassificationSet
from detection.classification.model_io import TrainedClassifier, save_classifier
from detection.classification.pooled_cache import PooledCache
from detection.classification.reader_errors import explained_readers
from detection.classification.training import ClassifierTraining
from detection.config import Config
from detection.runs.fingerprint import num_bytes, require_same_data
from detection.training.distributed import start_run
from detection.training.events import Announcer
from detection.training.loop import LoopConfig, run_steps
from detection.training.trackers import Trackers
from detection.words import counted

_LOG = logging.getLogger(__name__)

_LOG_EVERY = 100


def pretrain(
    config: Config,
    out: Path,
    *,
    trackers: Sequence[Any] = (),
    resume: bool = False,
    override: bool = False,
    overwrite: bool = False,
    cache: PooledCache | None = None,
) -> Path:
    """Train a classifier; return its run folder.

    The images of the test split are only watched: nothing is chosen by them.

    Args:
        config: ``pretrain``, ``backbone``, ``data`` for objects, and ``features.device``.
        out: the run folder, new or empty.
        trackers: names of experiment trackers, or trackers, as `detection.train` takes them.
        resume: continue what was interrupted in there.
        override: resume although the configuration changed.
        overwrite: start anew in a folder that holds a run.
        cache: shared with trainings on the same images, conv layers and pool; None for one's own.

    Raises:
        DetectionError: naming what a user can mend.
    """
    tracked = Trackers(trackers, out, config, every=_LOG_EVERY)
    opened = start_run(config, out, resume=resume, override=override, overwrite=overwrite)
    with opened as (run, workers):
        if resume and run.model.exists():
            _LOG.info("%s: already trained", run.model)
            return out
        listed = with_lists_of(out, config, write=workers.is_main)
        train_set = read_labelled_images(listed, "train")
        test_set = read_labelled_images(listed, "test", train_set.class_names)
        for images in (train_set, test_set):
            _LOG.info("%s", count_line(images))
        if workers.is_main:
            require_same_data(out, fingerprint(train_set), override=override)
        training = ClassifierTraining(train_set, test_set, config, workers, cache)
        settings = config.pretrain
        steps_an_epoch = training.plan.steps_an_epoch
        announce = Announcer([tracked], silent=not workers.is_main)

        def step(index: int) -> Mapping[str, float]:
            values = training.step(index)
            announce("pretraining", index + 1, training.plan.steps, values)
            return values

        with explained_readers(), tracked if workers.is_main else contextlib.nullcontext():
            run_steps(
                step,
                training.parts,
                LoopConfig(
                    iterations=training.plan.steps,
                    checkpoint_every=settings.checkpoint_every or steps_an_epoch,
                    log_every=min(steps_an_epoch, _LOG_EVERY),
                    tensorboard=settings.tensorboard,
                ),
                run.checkpoints,
                resume=resume,
                workers=workers,
                description="pretrain",
            )
        trained = TrainedClassifier(
            model=training.model, class_names=train_set.class_names, config=config
        )
        if workers.is_main:
            save_classifier(run.model, trained)
            _LOG.info("%s: written", run.model)
    return out


def count_line(images: ClassificationSet) -> str:
    """Return one line with the numbers of images and classes."""
    left_out = "".join(f", {count} left out ({kind})" for kind, count in images.notes.items())
    classes = counted(len(images.class_names), "class")
    return f"{images.name}: {counted(len(images.examples), 'image')} of {classes}{left_out}"


def fingerprint(images: ClassificationSet) -> dict[str, Any]:
    """Return names, counts and a hash of every image's location, label and file size."""
    digest = hashlib.sha256()
    for one in images.examples:
        line = f"{one.example_id} {one.region} {one.label} {num_bytes(one.path)}"
        digest.update(line.encode())
    return {
        "split": images.name,
        "class_names": list(images.class_names),
        "num_images": len(images.examples),
        "sha256": digest.hexdigest(),
    }
