"""Fine-tuning: its steps, its checkpoints, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from detection.config import Config, FineTuneConfig
from detection.errors import ConfigError
from detection.features.extractor import Trainable
from detection.heads.normalisation import fit_normaliser
from detection.structures import FeatureMap, Record
from detection.training.distributed import ALONE, Workers
from detection.training.events import SILENT, Announcer
from detection.training.examples import TrainingImages
from detection.training.feature_cache import FrozenMaps
from detection.training.finetune_model import FineTuned, FineTuneModel, folded, input_norm
from detection.training.image_threads import map_images
from detection.training.loop import LoopConfig, Stateful, check_finite, run_steps
from detection.training.randomness import seeded, stream
from detection.training.sampling import ImageSample, RoIPool, Sampler, delta_statistics, pool_of
from detection.training.solver import Snapshot, learning_rate, make_optimizer
from detection.training.validation import MapValidation, map_steps
from detection.training.weight_average import WeightAverage

_NORM_IMAGES, _NORM_BOXES = 20, 200


def fine_tune(
    images: TrainingImages,
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    workers: Workers = ALONE,
    announce: Announcer = SILENT,
) -> FineTuned:
    """Train the fc layers, and the conv layers that the method or the configuration opens.

    ``images.source.extractor`` stays as it is: trained conv layers are new ones.

    Args:
        images: to train on, with their proposals.
        config: everything there is to choose.
        folder: of checkpoints and log.
        resume: continue from the last checkpoint, where there is one.
        workers: the processes that train together.
        announce: is told of each step.

    Raises:
        DataError: without positives or negatives, and if the loss is not finite.
        SystemExit: after SIGTERM or SIGINT, the state saved.
    """
    training, held_out = split(
        images.records, config.finetune.validation_fraction, config.finetune.seed
    )
    tune = with_iterations(config.finetune, len(training))
    extractor, factor = images.source.extractor, pool5_factor(images, tune)
    with seeded(extractor.device, tune.seed, "initial weights"):
        network = FineTuneModel(extractor, len(images.class_names), factor, tune)
    tuner = FineTuner(network, batches(images, training, network.extractor, config), tune, workers)
    look = _look(tuner, images, training, held_out, replace(config, finetune=tune))
    snapshot = Snapshot(network, "map" if tune.validate_map_every else "rois")
    average = WeightAverage(network, tune.ema_decay)

    def step(index: int) -> Mapping[str, float]:
        values = tuner.step(index)
        average.update()
        with average.applied():
            values |= look(index + 1, snapshot)
        announce("fine-tuning", index + 1, tune.iterations, values)
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
    if tune.ema_decay:
        parts["average"] = average
    run_steps(step, parts, loop, folder, resume=resume, workers=workers, description="fine-tuning")
    average.swap()
    snapshot.restore()
    return folded(network, *tuner.deltas)


def _look(
    tuner: FineTuner,
    images: TrainingImages,
    training: Sequence[Record],
    held_out: Sequence[Record],
    config: Config,
) -> Callable[[int, Snapshot], dict[str, float]]:
    """Return the function that judges the network after an iteration, where it is time to.

    Args:
        tuner: of the network.
        images: all of them, with their proposals.
        training: those to train on.
        held_out: those to judge by.
        config: its epochs already turned into iterations.
    """
    tune = config.finetune
    if tune.validate_map_every:
        measured = map_steps(tune, len(training))
        judge = MapValidation(tuner.network, tuner.deltas, images, held_out, config)

        def look_at_map(step: int, snapshot: Snapshot) -> dict[str, float]:
            if step not in measured:
                return {}
            value = judge.measure(step, tuner.workers)
            snapshot.offer(1 - value, step)
            return {"validation_map": value}

        return look_at_map
    validation = batches(images, held_out, tuner.network.extractor, config) if held_out else None

    def look_at_error(step: int, snapshot: Snapshot) -> dict[str, float]:
        if validation is None or step % tune.validate_every:
            return {}
        error = tuner.error(validation)
        snapshot.offer(error, step)
        return {"validation_error": error}

    return look_at_error


def with_iterations(config: FineTuneConfig, num_images: int) -> FineTuneConfig:
    """Return the configuration with its epochs turned into iterations.

    Args:
        config: with ``images_per_batch`` if it has epochs.
        num_images: in an epoch.
    """
    if not config.epochs:
        return config
    iterations = round(config.epochs * num_images / config.images_per_batch)
    return replace(config, iterations=max(iterations, 1))


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


def pool5_factor(images: TrainingImages, config: FineTuneConfig) -> float:
    """Return the factor that scales pool5 to the norm that new layers expect."""
    samples = images.sample(_NORM_IMAGES, _NORM_BOXES, config.seed)
    norms = [pool5.expand().norm(dim=1) for pool5 in samples]
    wanted = input_norm(images.source.extractor.feature_dim, config)
    return fit_normaliser(torch.cat(norms), wanted).factor


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Batches:
    """Mini-batches with their maps.

    Attributes:
        sampler: draws them.
        maps: of its images.
    """

    sampler: Sampler
    maps: FrozenMaps

    def image_ids(self, samples: Sequence[ImageSample]) -> list[str]:
        """Name the images of a mini-batch."""
        return [self.sampler.pools[sample.index].image_id for sample in samples]


class FineTuner:
    """Runs the steps: forward, backward, optimiser.

    Attributes:
        network: what is trained.
        batches: of the training images.
        optimizer: as configured, one group for each learning rate.
        deltas: mean and deviation of the regression targets.
    """

    def __init__(
        self, network: FineTuneModel, batches: Batches, config: FineTuneConfig, workers: Workers
    ) -> None:
        self.network = network
        self.batches = batches
        self.config = config
        self.workers = workers
        count = self.config.images_per_batch
        if count % workers.count:
            message = (
                f"finetune.images_per_batch: expected a multiple of the {workers.count} processes, "
                f"got {count}"
            )
            raise ConfigError(message)
        self.optimizer = make_optimizer(network, self.config)
        self.deltas = delta_statistics(batches.sampler.pools, flip=self.config.flip)
        self._parallel = workers.prepare(network)

    def step(self, index: int) -> dict[str, float]:
        """Run one step; return its losses.

        Args:
            index: how many steps were done before.

        Raises:
            DataError: if the loss is not finite; nothing has changed then.
        """
        rate = learning_rate(index, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["multiplier"]
        samples = self.batches.sampler.draw(index)
        self._parallel.train()
        device = self.network.fc8.weight.device
        with seeded(device, self.config.seed, index, self.workers.rank):
            losses = self._losses(self._parallel, self.batches, samples)
        loss = losses.sum()
        values = self.workers.sum(losses.detach())
        check_finite(
            float(values.sum()),
            step=index,
            learning_rate=rate,
            image_ids=self.batches.image_ids(samples),
        )
        self.optimizer.zero_grad()
        (loss * self.workers.count).backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        names = ("loss_class", "loss_bbox") if self.network.bbox is not None else ("loss_class",)
        logged = {name: float(value) for name, value in zip(names, values, strict=False)}
        return {"learning_rate": rate, **logged}

    def error(self, batches: Batches) -> float:
        """Return the RoI classification error over a fixed set of mini-batches.

        Args:
            batches: of held-out images.
        """
        self.network.eval()
        wrong = torch.zeros(2, device=self.network.fc8.weight.device)
        own = range(self.workers.rank, self.config.validation_batches, self.workers.count)
        with torch.no_grad():
            for samples in (batches.sampler.draw(index) for index in own):
                logits, _ = self.network(samples, maps_of(batches, samples))
                labels = _joined([s.labels for s in samples], logits)
                wrong[0] += (logits.argmax(dim=1) != labels).sum()
                wrong[1] += len(labels)
        wrong = self.workers.sum(wrong)
        return float(wrong[0] / wrong[1])

    def _losses(
        self, network: nn.Module, batches: Batches, samples: list[ImageSample]
    ) -> Float[Tensor, " 2"]:
        """Return this process's share of the losses, each a mean over the whole mini-batch."""
        total = sum(len(sample.labels) for sample in samples)
        own = samples[self.workers.rank :: self.workers.count]
        logits, deltas = network(own, maps_of(batches, own))
        labels = _joined([s.labels for s in own], logits)
        loss = functional.cross_entropy(logits.float(), labels, reduction="sum") / total
        if deltas is None:
            return torch.stack((loss, torch.zeros_like(loss)))
        mean, deviation = (value.to(logits.device) for value in self.deltas)
        targets = (_joined([s.deltas for s in own], logits) - mean) / deviation
        return torch.stack((loss, bbox_loss(deltas.float(), targets, labels) / total))


def bbox_loss(
    deltas: Float[Tensor, "n k 4"], targets: Float[Tensor, "n 4"], labels: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Sum the smooth L1 distance of each positive's deltas for its own class (FR §2.3)."""
    positive = (labels < deltas.shape[1]).nonzero().flatten()
    own = deltas[positive, labels[positive]]
    return functional.smooth_l1_loss(own, targets[positive], reduction="sum")


def maps_of(batches: Batches, samples: Sequence[ImageSample]) -> list[tuple[FeatureMap, ...]]:
    """Return the maps of each sample, at the scales that it needs."""

    def of(sample: ImageSample) -> tuple[FeatureMap, ...]:
        scales = None if sample.scale is None else torch.unique(sample.scale).tolist()
        return batches.maps.of(sample.index, flipped=sample.flipped, scales=scales)

    return map_images(of, samples, batches.maps.extractor.device)


def _joined(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """Put the samples one after the other on the device of the network."""
    return torch.cat(list(parts)).to(like.device)
