"""Fine-tuning for detection: one loop for both methods (RC §2.3, SPP §4.1, FR §2.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from detection.config import Config
from detection.features.extractor import Trainable
from detection.heads.normalisation import fit_normaliser
from detection.structures import Record
from detection.training.distributed import ALONE, Workers
from detection.training.examples import TrainingImages
from detection.training.loop import LoopConfig, Stateful, run_steps
from detection.training.maps import FrozenMaps
from detection.training.optimise import Snapshot
from detection.training.randomness import seeded, stream
from detection.training.sampling import RoIPool, Sampler, pool_of
from detection.training.tuned import FEATURE_NORM, FineTuned, TunedNetwork, folded
from detection.training.tuner import Batches, Tuner

_NORM_IMAGES, _NORM_BOXES = 20, 200


def fine_tune(
    images: TrainingImages,
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    workers: Workers = ALONE,
) -> FineTuned:
    """Train the fc layers, and the conv layers that the method or the configuration opens.

    ``images.source.extractor`` stays as it is: trained conv layers are new ones.

    Args:
        images: to train on, with their proposals.
        config: everything there is to choose.
        folder: of checkpoints and log.
        resume: continue from the last checkpoint, where there is one.
        workers: the processes that train together.

    Raises:
        DataError: without positives or negatives, and if the loss is not finite.
        SystemExit: after SIGTERM or SIGINT, the state saved.
    """
    tune = config.finetune
    training, held_out = split(images.records, tune.validation_fraction, tune.seed)
    extractor, factor = images.source.extractor, pool5_factor(images, tune.seed)
    with seeded(extractor.device, tune.seed, "initial weights"):
        network = TunedNetwork(extractor, len(images.class_names), factor, tune)
    tuner = Tuner(network, batches(images, training, network.extractor, config), tune, workers)
    validation = batches(images, held_out, network.extractor, config) if held_out else None
    snapshot = Snapshot(network)

    def step(index: int) -> Mapping[str, float]:
        values = tuner.step(index)
        if validation is not None and (index + 1) % tune.validate_every == 0:
            error = tuner.error(validation)
            snapshot.offer(error, index + 1)
            values = {**values, "validation_error": error}
        return values

    loop = LoopConfig(
        iterations=tune.iterations,
        checkpoint_every=tune.checkpoint_every,
        log_every=tune.log_every,
        tensorboard=tune.tensorboard,
    )
    parts: dict[str, Stateful] = {
        "network": network,
        "optimizer": tuner.optimizer,
        "snapshot": snapshot,
    }
    run_steps(step, parts, loop, folder, resume=resume, workers=workers, description="fine-tuning")
    snapshot.restore()
    return folded(network, *tuner.deltas)


def split(
    records: Sequence[Record], fraction: float, seed: int
) -> tuple[list[Record], list[Record]]:
    """Hold out a fraction of the training images at random: (training, held out)."""
    count = round(fraction * len(records))
    order = torch.randperm(len(records), generator=stream(seed, "held out")).tolist()
    held_out = set(order[:count])
    return (
        [record for i, record in enumerate(records) if i not in held_out],
        [record for i, record in enumerate(records) if i in held_out],
    )


def batches(
    images: TrainingImages, records: Sequence[Record], extractor: Trainable, config: Config
) -> Batches:
    """Return the mini-batches of some of the training images.

    Args:
        images: all of them, with their proposals.
        records: those to draw from.
        extractor: whose frozen layers run on them.
        config: sizes and fractions.
    """
    chosen = replace(images, records=records)
    pools: list[RoIPool] = [
        pool_of(
            chosen.rois(record),
            record.image_id,
            record.truth.size[1],
            len(images.class_names),
            config.finetune,
        )
        for record in records
    ]
    maps = FrozenMaps(
        extractor,
        records,
        max_pixels=config.data.max_pixels,
        budget=int(config.features.memory_gib * 2**30),
        dtype=getattr(torch, config.finetune.map_dtype),
    )
    return Batches(sampler=Sampler(pools, config.finetune, extractor.num_scales), maps=maps)


def pool5_factor(images: TrainingImages, seed: int) -> float:
    """Give the factor that brings pool5 of the untrained network to the norm of fresh layers."""
    norms = [pool5.expand().norm(dim=1) for pool5 in images.sample(_NORM_IMAGES, _NORM_BOXES, seed)]
    return fit_normaliser(torch.cat(norms), FEATURE_NORM).factor
