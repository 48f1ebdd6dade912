"""The steps of a classifier's training, and what they change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from detection.classification.augment import ColourAxes, colour_shift, draw, input_side
from detection.classification.batches import Batch, BatchPlan, LabelledImages, load_batches
from detection.classification.classifier import Classifier, build_classifier, set_training
from detection.classification.dataset import ClassificationSet
from detection.classification.pooled_cache import PooledCache
from detection.classification.views import centre_place, cut_out
from detection.config import Config
from detection.errors import CheckpointError
from detection.io.device import has_fast_bfloat16, is_host, resolve_device
from detection.pretrain_config import PretrainConfig
from detection.training.distributed import Workers
from detection.training.loop import Stateful, check_finite
from detection.training.randomness import seeded

_TEST_BATCH = 64


class ClassifierTraining:
    """One step after another of stochastic gradient descent.

    What a step does follows from its number and from ``parts``.

    Attributes:
        model: what is trained.
        plan: which images when.
        cache: what was pooled from the crops; None where the conv layers learn.
        parts: what the steps change, and the label map.
    """

    def __init__(
        self,
        train_set: ClassificationSet,
        test_set: ClassificationSet,
        config: Config,
        workers: Workers,
        cache: PooledCache | None = None,
    ) -> None:
        settings = config.pretrain
        self.cache = make_cache(settings) if cache is None else cache
        self._config = settings
        self._workers = workers
        self._device = resolve_device(config.features.device)
        self.model = build_classifier(config, len(train_set.class_names)).to(self._device)
        head = self.model if self.cache is None else Head(self.model)
        self._module = workers.prepare(head)
        max_pixels = config.data.max_pixels
        self._pictures = LabelledImages(train_set, settings, max_pixels=max_pixels)
        self._test = LabelledImages(test_set, settings, max_pixels=max_pixels)
        self.plan = BatchPlan(
            config=settings, count=len(self._pictures), rank=workers.rank, ranks=workers.count
        )
        self._colours: ColourAxes | None = None
        if settings.colour > 0:
            self._colours = self._pictures.colours()
        self._optimiser = make_optimiser(self.model, settings)
        self._batches: Iterator[Batch] | None = None
        self.parts: dict[str, Stateful] = {
            "model": self.model,
            "optimiser": self._optimiser,
            "labels": LabelMap(train_set.class_names),
        }

    def step(self, index: int) -> Mapping[str, float]:
        """Learn from one batch; return its loss, and at the end of an epoch the test accuracy."""
        if self._batches is None:
            self._batches = load_batches(self._pictures, self.plan, index)
        batch = next(self._batches)
        rate = self.plan.learning_rate(index)
        for group in self._optimiser.param_groups:
            group["lr"] = rate * group["multiplier"]
        set_training(self.model)
        with seeded(self._device, "pretrain", self._config.seed, index, self.plan.rank):
            scores, labels = self._forward(batch, self.plan.epoch(index))
        loss = cross_entropy(scores, labels, reduction="sum") / self.plan.batch_size(index)
        right = (scores.argmax(dim=1) == labels).sum() / self.plan.batch_size(index)
        total_loss, accuracy = self._workers.sum(torch.stack((loss, right)).detach()).tolist()
        check_finite(
            total_loss,
            step=index,
            learning_rate=rate,
            image_ids=[self._pictures.examples[i].example_id for i in batch.indexes.tolist()],
        )
        self._optimiser.zero_grad()
        (loss * self.plan.ranks).backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        values = {"loss": total_loss, "accuracy": accuracy, "learning_rate": rate}
        values["side"] = input_side(self._config, self.plan.epoch(index))
        if (index + 1) % self.plan.steps_an_epoch == 0:
            values |= self.test()
        return values

    def test(self) -> dict[str, float]:
        """Return the accuracy on the central crops of the test images."""
        indexes = range(self.plan.rank, len(self._test), self.plan.ranks)
        right = torch.zeros(2, device=self._device)
        self.model.eval()
        for begin in range(0, len(indexes), _TEST_BATCH):
            chosen = list(indexes[begin : begin + _TEST_BATCH])
            with torch.inference_mode():
                scores = self._test_scores(chosen)
            right += count_right(scores.cpu(), self._test.labels[chosen]).to(self._device)
        top1, top5 = (self._workers.sum(right) / len(self._test)).tolist()
        return {"test_top1": top1, "test_top5": top5}

    def _test_scores(self, indexes: list[int]) -> Float[Tensor, "n k"]:
        """Return the logits of the central crops of some test images."""
        crops = torch.cat([self._centre(index) for index in indexes])
        if self.cache is None:
            scores: Tensor = self.model(crops.to(self._device).float())
            return scores
        keys = [("test", index, self._config.crop, 0, False) for index in indexes]
        pooled = self.cache.get(keys, crops, self._pool)
        return self.model.classify(pooled.to(self._device))

    def _centre(self, index: int) -> Tensor:
        image, crop = self._test.resized(index), self._config.crop
        place = centre_place((image.shape[1], image.shape[2]), crop)
        return cut_out(image, [place], crop, mirrored=False)

    def _forward(self, batch: Batch, epoch: int) -> tuple[Float[Tensor, "n k"], Tensor]:
        """Return the logits and labels of a batch."""
        cache = self.cache
        inputs = self._pixels(batch) if cache is None else self._pooled(batch, epoch, cache)
        fast = not is_host(self._device) and has_fast_bfloat16(self._device)
        mixed = self._config.mixed_precision and fast
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=mixed):
            scores: Tensor = self._module(inputs)
        return scores.float(), batch.labels.to(self._device)

    def _pooled(self, batch: Batch, epoch: int, cache: PooledCache) -> Float[Tensor, "n d"]:
        """Return what is pooled from a batch; of crops that were seen before, from memory."""
        side = input_side(self._config, epoch)
        drawn = [draw(self._config, epoch, int(index)) for index in batch.indexes]
        keys = [
            ("train", int(index), side, chance.corner, chance.flip)
            for index, chance in zip(batch.indexes, drawn, strict=True)
        ]
        with torch.no_grad():
            vectors = cache.get(keys, batch.pixels, self._pool)
        return vectors.to(self._device)

    def _pool(self, crops: Tensor) -> Tensor:
        return self.model.pooled(crops.to(self._device).float()).cpu()

    def _pixels(self, batch: Batch) -> Float[Tensor, "n 3 s s"]:
        """Return a batch's crops, their colours altered."""
        pixels = batch.pixels.to(self._device, non_blocking=True).float()
        if self._colours is not None:
            shift = colour_shift(self._colours, batch.strengths)
            pixels += shift.to(self._device)[:, :, None, None]
        return pixels


class Head(nn.Module):
    """The fc layers of a classifier, on what was pooled before.

    Args:
        model: whose layers they are.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pooled: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the logits of pooled vectors."""
        return self.model.classify(pooled)


def make_cache(config: PretrainConfig) -> PooledCache | None:
    """Return the memory for pooled vectors that the settings ask for."""
    return PooledCache(int(config.pooled_gib * 2**30)) if config.pooled_gib else None


class LabelMap:
    """The class names, in a checkpoint: other classes are never trained on by mistake."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self._names = list(class_names)

    def state_dict(self) -> dict[str, Any]:
        """Return the state by name."""
        return {"class_names": self._names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Compare the names.

        Raises:
            CheckpointError: if they or their order changed.
        """
        if state["class_names"] != self._names:
            message = (
                f"checkpoint: expected the classes {self._names}, got {state['class_names']}; "
                "restore the data set, or start anew with --overwrite"
            )
            raise CheckpointError(message)


def make_optimiser(model: nn.Module, config: PretrainConfig) -> torch.optim.SGD:
    """Return SGD with momentum; biases learn faster and have no weight decay."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    weights = [p for name, p in named if not name.endswith("bias")]
    biases = [p for name, p in named if name.endswith("bias")]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay, "multiplier": 1.0},
        {"params": biases, "weight_decay": 0.0, "multiplier": config.bias_multiplier},
    ]
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)


def count_right(scores: Float[Tensor, "n k"], labels: Tensor) -> Float[Tensor, "2"]:
    """Count the rows whose label has the best score, and is among the five best."""
    best = scores.topk(min(5, scores.shape[1]), dim=1).indices == labels[:, None]
    return torch.stack((best[:, 0].sum(), best.sum())).float()
