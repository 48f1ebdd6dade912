"""Training from start to end: proposals, fine-tuning, SVMs, box regressors, one model file."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detection.backbones.backbone import Backbone
from detection.backbones.own import (
    Trunk,
    describe_own,
    own_backbone,
    own_config,
    sha256_of_weights,
)
from detection.backbones.weights import load_backbone
from detection.config import Config
from detection.data.dataset import may_skip, read_dataset, without_images
from detection.data.given import checked_dataset
from detection.data.kept_lists import with_kept_lists
from detection.detector import Detector
from detection.errors import ConfigError
from detection.evaluation.results import one_line
from detection.features.extractor import Trainable
from detection.features.factory import make_extractor
from detection.features.units import columns_of_maps
from detection.heads.fc import FcHead
from detection.heads.layer import FcLayer, fc_kind, identity
from detection.model_io import save_detector
from detection.proposals.dataset import propose_dataset
from detection.proposals.search import with_backend
from detection.proposals.store import ProposalStore
from detection.runs.config_io import config_to_dict
from detection.runs.fingerprint import describe_data, require_same_data
from detection.runs.folder import RunFolder
from detection.runs.given import require_same_given
from detection.runs.skipped import write_skipped
from detection.structures import Dataset, Proposals, Record
from detection.training.calibration import HeldOut, calibrate, hold_out
from detection.training.cascade import fit_cascade
from detection.training.distributed import Workers, start_run
from detection.training.events import SILENT, Announcer, Callback
from detection.training.examples import TrainingImages
from detection.training.feature_cache import FeatureSource
from detection.training.finetune import fine_tune, split
from detection.training.finetune_model import FineTuned
from detection.training.mining_checkpoint import MiningCheckpoints
from detection.training.svm_training import HeadLayer
from detection.training.svms import train_heads
from detection.training.trackers import Trackers
from detection.words import counted

_LOG = logging.getLogger(__name__)


def train(  # noqa: PLR0913 - three ways to restart, each a flag of its own
    config: Config,
    out: Path | str,
    *,
    dataset: Dataset | None = None,
    backbone: nn.Module | Trunk | None = None,
    callbacks: Iterable[Callback] = (),
    trackers: Sequence[Any] = (),
    resume: bool = False,
    override: bool = False,
    overwrite: bool = False,
) -> Path:
    """Train a detector; return its run folder.

    Args:
        config: everything there is to choose.
        out: the run folder, new or empty.
        dataset: to train on, instead of reading what ``config.data`` names.
        backbone: any network that turns an image into a map, instead of ``config.backbone``; it
            stays as it is. `detection.load` needs it too.
        callbacks: called after each step with a `TrainingEvent`.
        trackers: names of experiment trackers that accelerate knows, ``tensorboard``, ``wandb``,
            ``mlflow`` and others, or its ``GeneralTracker`` objects.
        resume: continue what was interrupted in there.
        override: resume although the configuration changed.
        overwrite: start anew in a folder that holds a run.

    Raises:
        DetectionError: naming what a user can mend.
    """
    out = Path(out)
    config = replace(config, proposals=with_backend(config.proposals))
    network: Backbone | None = None
    if backbone is not None:
        config = replace(config, backbone=own_config(config.backbone, backbone))
        network = own_backbone(backbone, config.backbone)
    tracked = Trackers(trackers, out, config, every=config.finetune.log_every)
    opened = start_run(config, out, resume=resume, override=override, overwrite=overwrite)
    with opened as (run, workers), contextlib.ExitStack() as stack:
        if resume and run.model.exists():
            _LOG.info("%s: already trained", run.model)
            return out
        given = given_in_python(dataset, network)
        if workers.is_main:
            require_same_given(out, given, override=override)
            stack.enter_context(tracked)
        listeners: list[Callback] = [*callbacks]
        listeners += [tracked] if trackers else []
        announce = Announcer(listeners, silent=not workers.is_main)
        dataset = _dataset(config, dataset, out, workers)
        extractor = make_extractor(network or load_backbone(config.backbone), config.features)
        store = _proposed(dataset, config, workers)  # minutes: what can be wrong comes before it
        dataset = without_images(dataset, store.failed, config.data)
        announce("proposals", len(dataset.records), len(dataset.records))
        described = describe_data(dataset)
        if workers.is_main:
            write_skipped(out, {dataset.split: dataset.skipped})
            require_same_data(out, described, override=override)
        seen, unseen = hold_out(dataset.records, config)
        images = training_images(replace(dataset, records=tuple(seen)), store, extractor, config)
        tuned = tuned_network(
            images, config, run, resume=resume, workers=workers, announce=announce
        )
        if workers.is_main:
            checkpoints = mining_checkpoints(run, described, resume=resume, given=given)
            detector = train_detector(tuned, config, checkpoints, unseen, announce)
            save_detector(run.model, detector)
            if checkpoints:
                checkpoints.remove()
            _LOG.info("%s: written", run.model)
    return out


def _dataset(config: Config, given: Dataset | None, out: Path, workers: Workers) -> Dataset:
    """Return the images to train on: those given, or those that the configuration names."""
    if given is None:
        data = with_kept_lists(config.data, out, write=workers.is_main)
        dataset = read_dataset(data, "train")
    else:
        dataset = checked_dataset(given, config.data)
    _LOG.info("%s", class_table(dataset))
    return dataset


def given_in_python(dataset: Dataset | None, network: Backbone | None) -> dict[str, dict[str, Any]]:
    """Return what ``given.json`` says: argument of ``train`` -> what it is."""
    given: dict[str, dict[str, Any]] = {}
    if dataset is not None:  # images and objects are in data.json
        given["dataset"] = {"name": dataset.name, "split": dataset.split}
    if network is not None:
        weights = sha256_of_weights(network)
        given["backbone"] = {"name": network.name, **describe_own(network), "sha256": weights}
    for name, what in given.items():
        message = "%s %s: given in Python, config.yaml cannot bring it back"
        _LOG.info(message, name, one_line(what["name"]))
    return given


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TrainedNetwork:
    """The network that SVMs and box regressors are trained on.

    Attributes:
        images: to train on, their features those of the network.
        fc: from pool5 to the layer that the scorer reads.
        tuned: what fine-tuning gave besides the network; None without it.
    """

    images: TrainingImages
    fc: HeadLayer
    tuned: FineTuned | None


def tuned_network(
    images: TrainingImages,
    config: Config,
    run: RunFolder,
    *,
    resume: bool,
    workers: Workers,
    announce: Announcer = SILENT,
) -> TrainedNetwork:
    """Fine-tune as configured; without, take the network as its weights make it.

    Args:
        images: to train on.
        config: everything there is to choose.
        run: for checkpoints.
        resume: continue what was interrupted.
        workers: the processes that train together.
        announce: is told of each step.
    """
    extractor = images.source.extractor
    if not config.finetune.enabled:
        return TrainedNetwork(images=images, fc=layer_of(extractor, config), tuned=None)
    tuned = fine_tune(
        images, config, run.checkpoints, resume=resume, workers=workers, announce=announce
    )
    extractor = make_extractor(tuned.backbone, config.features)
    fc: HeadLayer = identity
    if tuned.fc is not None and config.features.layer != "pool5":
        kind = fc_kind(config.features, extractor.dtype)
        groups = columns_of_maps(extractor)
        fc = FcLayer(head=tuned.fc, layer=config.features.layer, groups=groups).prepared(kind)
    images = replace(images, source=feature_source(extractor, config))
    return TrainedNetwork(images=images, fc=fc, tuned=tuned)


def mining_checkpoints(
    run: RunFolder,
    described: dict[str, Any],
    *,
    resume: bool,
    given: Mapping[str, Any] | None = None,
) -> MiningCheckpoints | None:
    """Return the checkpoints of the last stage; None if ``svm.checkpoint_every`` is 0.

    Args:
        run: where they are kept.
        described: the data, as ``describe_data`` returns them.
        resume: whether to go on from those that are there.
        given: what the configuration cannot bring back.
    """
    if not run.config.svm.checkpoint_every:
        return None
    config = config_to_dict(run.config)
    sections = (
        "data",
        "proposals",
        "backbone",
        "features",
        "svm",
        "bbox",
        "finetune",
        "calibration",
    )
    identity = {"data": described["sha256"], **{name: config[name] for name in sections}}
    identity |= {"given": given} if given else {}
    every = run.config.svm.checkpoint_every
    return MiningCheckpoints(run.checkpoints / "mining", identity, resume=resume, every=every)


def train_detector(
    network: TrainedNetwork,
    config: Config,
    checkpoints: MiningCheckpoints | None = None,
    unseen: Sequence[Record] = (),
    announce: Announcer = SILENT,
) -> Detector:
    """Return the trained detector; both methods go through the same stages.

    Args:
        network: fine-tuned or not.
        config: everything there is to choose.
        checkpoints: of the last stage; None writes none.
        unseen: more images, which calibration uses.
        announce: is told of each step.
    """
    tuned = network.tuned
    softmax = tuned.scorer if tuned and config.finetune.scores == "softmax" else None
    joint = tuned.regressors if tuned else None
    bbox = replace(config.bbox, enabled=config.bbox.enabled and joint is None)
    heads = train_heads(
        network.images, network.fc, config.svm, bbox, softmax, checkpoints, announce
    )
    detector = Detector(
        class_names=network.images.class_names,
        config=config,
        extractor=network.images.source.extractor,
        fc=network.fc,
        scorer=heads.scorer,
        regressors=joint or heads.regressors,
    )
    if config.cascade.enabled:
        detector = fit_cascade(detector, network.images)
    of_network = held_out_images(network.images.records, config) if tuned else None
    held = HeldOut(of_all=unseen, of_network=of_network)
    detector = calibrate(detector, network.images, held, heads.without)
    if fitted := detector.calibration:
        announce("calibration", 1, 1, {"threshold": fitted.threshold, "f1": fitted.f1})
    return detector


def held_out_images(records: Sequence[Record], config: Config) -> list[Record]:
    """Return the training images that fine-tuning holds out."""
    return split(records, config.finetune.validation_fraction, config.finetune.seed)[1]


def layer_of(extractor: Trainable, config: Config) -> HeadLayer:
    """Return the layer that the SVMs read, of a network that is not fine-tuned.

    Raises:
        ConfigError: if it is fc6 or fc7 and the weights have none that fit.
    """
    layer = config.features.layer
    if layer == "pool5":
        return identity
    pretrained = extractor.pretrained_fc()
    if pretrained is None:
        message = (
            f"features.layer: expected pool5, as {config.backbone.name} brings no fc layers for "
            f"{extractor.feature_dim} numbers, got {layer}; or set finetune.enabled"
        )
        raise ConfigError(message)
    head = FcHead.from_module(pretrained).to(extractor.device)
    kind = fc_kind(config.features, extractor.dtype)
    return FcLayer(head=head, layer=layer, groups=columns_of_maps(extractor)).prepared(kind)


def training_images(
    dataset: Dataset, store: ProposalStore, extractor: Trainable, config: Config
) -> TrainingImages:
    """Bring a data set, its proposals and a method's features together."""
    return TrainingImages(
        records=dataset.records,
        proposals=stored_proposals(store),
        source=feature_source(extractor, config),
        class_names=dataset.class_names,
        difficult=config.data.train_difficult,
    )


def feature_source(extractor: Trainable, config: Config) -> FeatureSource:
    """Return the source of training features, cached in memory as configured."""
    return FeatureSource(
        extractor,
        max_pixels=config.data.max_pixels,
        budget=int(config.features.memory_gib * 2**30),
    )


def stored_proposals(store: ProposalStore) -> Callable[[Record], Proposals]:
    """Return a function that loads a record's stored boxes, empty if its search failed."""

    def load(record: Record) -> Proposals:
        proposals = store.load(record)
        return proposals or Proposals(image_id=record.image_id, boxes=torch.zeros(0, 4))

    return load


def _proposed(dataset: Dataset, config: Config, workers: Workers) -> ProposalStore:
    """Return the proposal store, filled by one process while the others wait."""
    folder = Path(config.proposals.folder)
    if workers.is_main:
        store = propose_dataset(
            dataset,
            config.proposals,
            folder,
            max_pixels=config.data.max_pixels,
            max_failed=may_skip(dataset, config.data.max_skipped),
        )
        workers.wait()
        return store
    workers.wait()
    store = ProposalStore(folder, config.proposals)
    missing = (record.image_id for record in dataset.records if not store.holds(record))
    store.failed = dict.fromkeys(missing, "no proposals")
    return store


def class_table(dataset: Dataset) -> str:
    """Return the number of images and objects of each class as text, one line per class."""
    labels = [record.truth.labels for record in dataset.records]
    difficult = [record.truth.difficult for record in dataset.records]
    num_classes = len(dataset.class_names)
    all_labels = torch.cat([*labels, torch.zeros(0, dtype=torch.int64)])
    hard = torch.cat([*difficult, torch.zeros(0, dtype=torch.bool)])
    per_class = torch.bincount(all_labels, minlength=num_classes).tolist()
    hard_objects = torch.bincount(all_labels[hard], minlength=num_classes).tolist()
    images = [0] * num_classes
    for image_labels in labels:
        for label in set(image_labels.tolist()):
            images[label] += 1
    objects = counted(len(all_labels), "object")
    lines = [f"{dataset.name}: {counted(len(dataset.records), 'image')}, {objects}"]
    lines += [f"  {kind}: {count}" for kind, count in sorted(dataset.notes.items())]
    lines.append(f"  {'class':<16} {'images':>7} {'objects':>8} {'difficult':>10}")
    for name, *counts in zip(dataset.class_names, images, per_class, hard_objects, strict=True):
        lines.append(f"  {one_line(name):<16} {counts[0]:>7} {counts[1]:>8} {counts[2]:>10}")
    return "\n".join(lines)
