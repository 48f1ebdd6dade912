"""One step of fine-tuning, and one look at held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from detection.config import FineTuneConfig
from detection.errors import ConfigError
from detection.structures import FeatureMap
from detection.training.distributed import Workers
from detection.training.loop import check_finite
from detection.training.maps import FrozenMaps
from detection.training.optimise import learning_rate, parameter_groups
from detection.training.randomness import seeded
from detection.training.sampling import ImageSample, Sampler, delta_statistics
from detection.training.tuned import TunedNetwork


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


class Tuner:
    """Does the steps: forward, backward, momentum SGD.

    Attributes:
        network: what is trained.
        batches: of the training images.
        optimizer: SGD with momentum, one group for each learning rate.
        deltas: mean and deviation of the regression targets.
    """

    def __init__(
        self, network: TunedNetwork, batches: Batches, config: FineTuneConfig, workers: Workers
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
        groups = parameter_groups(network, self.config)
        self.optimizer = torch.optim.SGD(
            groups, lr=self.config.learning_rate, momentum=self.config.momentum
        )
        self.deltas = delta_statistics(batches.sampler.pools, flip=self.config.flip)
        self._parallel = workers.prepare(network)

    def step(self, index: int) -> dict[str, float]:
        """Do one step; give its losses.

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
        self.optimizer.step()
        names = ("loss_class", "loss_bbox") if self.network.bbox is not None else ("loss_class",)
        logged = {name: float(value) for name, value in zip(names, values, strict=False)}
        return {"learning_rate": rate, **logged}

    def error(self, batches: Batches) -> float:
        """Give the fraction of RoIs that get a wrong class, over the same mini-batches each time.

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
        """Give this process's part of the losses, each a mean over the whole mini-batch."""
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
    """Give the maps of each sample."""
    return [batches.maps.of(sample.index, flipped=sample.flipped) for sample in samples]


def _joined(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """Put the samples one after the other on the device of the network."""
    return torch.cat(list(parts)).to(like.device)
