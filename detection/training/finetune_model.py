"""The network that fine-tuning trains, and what becomes of its parts in a detector."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.backbones.backbone import Backbone
from detection.config import FeatureConfig, FineTuneConfig
from detection.features.extractor import Trainable
from detection.heads.bbox_regressor import BBoxRegressors
from detection.heads.fc import FcHead
from detection.heads.scorer import SoftmaxScorer
from detection.structures import FeatureMap
from detection.training.image_threads import map_with_gradients
from detection.training.sampling import ImageSample

_LOG = logging.getLogger(__name__)


class FineTuneModel(nn.Module):
    """The unfrozen conv layers, pooling, fc6 and fc7, a new fc8 and, where wanted, box deltas.

    Fresh layers read pool5 times ``factor``, which brings it to a known norm, so that neither
    their initial weights nor the learning rate depend on the trunk; ``folded`` puts the factor
    into their weights. Where classifier and regressor read fc6, there is no fc7.

    Attributes:
        extractor: of the method, with its own conv layers.
        opened: its unfrozen conv layers.
        fc: fc6 and fc7, or fc6 alone; None where fc8 reads pool5.
        fc8: K classes and, last, background.
        bbox: 4 K normalised deltas; None without.
        factor: of pool5.
    """

    def __init__(
        self, extractor: Trainable, num_classes: int, factor: float, config: FineTuneConfig
    ) -> None:
        super().__init__()
        self.extractor = extractor.unfreeze(config.open_layers)
        if config.scales:
            self.extractor = self.extractor.with_scales(config.scales)
        self.opened = self.extractor.trainable
        random = torch.Generator().manual_seed(config.seed)
        self.fc = initial_fc(extractor, config, random) if config.fc_size else None
        known = self.fc is not None and self.fc.start != "random"
        self.factor = 1.0 if known else factor
        if self.fc is not None and reads_fc6(extractor.config, config):
            self.fc.fc7 = None
        size = self.fc.out_features if self.fc else extractor.feature_dim
        self.fc8 = linear(size, num_classes + 1, 0.01, random)
        self.bbox = linear(size, 4 * num_classes, 0.001, random) if config.joint_bbox else None
        self.to(extractor.device)

    def forward(
        self, samples: Sequence[ImageSample], maps: Sequence[tuple[FeatureMap, ...]]
    ) -> tuple[Float[Tensor, "n k1"], Float[Tensor, "n k 4"] | None]:
        """Return the logits of all RoIs and, if configured, their deltas for each class."""
        pairs = list(zip(samples, maps, strict=True))
        trained = [value for value in self.opened.parameters() if value.requires_grad]
        sizes = [sum(scale.values.numel() for scale in scales) for scales in maps]
        with self._precision():
            device = self.extractor.device
            parts = map_with_gradients(self._pool5, pairs, trained, device, sizes)
            top = self.top(torch.cat(parts))
            deltas = self.bbox(top).view(len(top), -1, 4) if self.bbox is not None else None
            return self.fc8(top), deltas

    def top(self, pool5: Float[Tensor, "u d"]) -> Float[Tensor, "u f"]:
        """Return what classifier and regressor read."""
        with self._precision():
            read: Tensor = pool5 * self.factor
            if self.fc is not None:
                read = self.fc(read)
            return read

    def scorer(self) -> SoftmaxScorer:
        """Return the classifier, which reads ``top``; its weights are the network's own."""
        return SoftmaxScorer(weight=self.fc8.weight.detach(), bias=self.fc8.bias.detach())

    def regressors(
        self, mean: Float[Tensor, " 4"], deviation: Float[Tensor, " 4"]
    ) -> BBoxRegressors | None:
        """Return the regressors, which read ``top``; None without.

        Args:
            mean: of the deltas that they were trained on.
            deviation: of them.
        """
        if self.bbox is None:
            return None
        weight, bias = self.bbox.weight.detach(), self.bbox.bias.detach()
        spread = deviation.to(weight.device)
        deltas = weight.view(-1, 4, weight.shape[1]) * spread[:, None]
        shift = bias.view(-1, 4) * spread + mean.to(weight.device)
        return BBoxRegressors(weight=deltas, bias=shift, reads="scored")

    def train(self, mode: bool = True) -> FineTuneModel:
        """Switch dropout; batch normalisation keeps its statistics."""
        super().train(mode)
        self.opened.eval()
        return self

    def _pool5(self, pair: tuple[ImageSample, tuple[FeatureMap, ...]]) -> Float[Tensor, "m d"]:
        """Run the unfrozen layers on the maps of the scales that a sample needs, then pool."""
        sample, maps = pair
        scale = sample.scale
        if scale is not None:
            scale = torch.unique(scale, return_inverse=True)[1]
        # A context of each thread's own, without the copies of weights that threads would share.
        with self._precision(cache_enabled=False):
            run = self.extractor.run_trainable(maps)
            return self.extractor.pool(run, sample.boxes, scale).expand()

    def _precision(self, *, cache_enabled: bool = True) -> torch.autocast:
        """Return the context in which the layers run."""
        device, dtype = self.extractor.device, self.extractor.dtype
        mixed = dtype != torch.float32
        return torch.autocast(device.type, dtype=dtype, enabled=mixed, cache_enabled=cache_enabled)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class FineTuned:
    """What fine-tuning leaves.

    Attributes:
        backbone: with the trained conv layers, without fc layers.
        fc: fc6 and fc7; None where the classifier reads pool5.
        scorer: of fc7, or of pool5 without fc layers.
        regressors: reading what the scorer reads; None without.
    """

    backbone: Backbone
    fc: FcHead | None
    scorer: SoftmaxScorer
    regressors: BBoxRegressors | None


def folded(
    network: FineTuneModel, mean: Float[Tensor, " 4"], deviation: Float[Tensor, " 4"]
) -> FineTuned:
    """Take a trained network apart, its constants folded into the weights.

    Args:
        network: trained.
        mean: of the deltas it was trained on.
        deviation: of them.
    """
    network.requires_grad_(requires_grad=False).eval()
    weight, bias = network.fc8.weight.clone(), network.fc8.bias.clone()
    regressors = network.regressors(mean, deviation)
    if network.fc is not None:
        network.fc.fc6.weight.mul_(network.factor)
    else:
        weight *= network.factor
        if regressors is not None:
            regressors = replace(regressors, weight=regressors.weight * network.factor)
    scorer = SoftmaxScorer(weight=weight, bias=bias)
    backbone = network.extractor.backbone.without_fc()
    return FineTuned(backbone=backbone, fc=network.fc, scorer=scorer, regressors=regressors)


def initial_fc(extractor: Trainable, config: FineTuneConfig, random: torch.Generator) -> FcHead:
    """Return fc6 and fc7 with the values that training starts from, and say which.

    Those of the weight file where they read pool5 as it is; with ``resample_fc`` also where they
    read a grid of another side; otherwise random ones.
    """
    pretrained, name = extractor.pretrained_fc(), extractor.backbone.name
    if pretrained is not None:
        _LOG.info("fc6 and fc7 start from the weights of %s", name)
        return FcHead.from_module(pretrained, config.dropout)
    other = extractor.backbone.fc
    if other is None:
        _LOG.info("the fc layers start from random values: the weights of %s have none", name)
        return fresh_fc(extractor.feature_dim, config, random)
    head = FcHead.from_module(other, config.dropout)
    bins, channels = extractor.config.levels, extractor.backbone.channels
    side = math.isqrt(head.fc6.in_features // channels)
    one_map = extractor.feature_dim == channels * sum(level**2 for level in bins)
    fits = one_map and head.fc6.in_features == channels * side**2
    if config.resample_fc and fits:
        _LOG.info(
            "fc6 starts from the %d x %d grid of %s, resampled to %s", side, side, name, list(bins)
        )
        return head.resampled(channels, bins)
    _LOG.warning(
        "fc6 and fc7 start from RANDOM values: those of %s read %s numbers a box, pool5 has %s%s",
        name,
        f"{head.fc6.in_features:,}",
        f"{extractor.feature_dim:,}",
        f"; set features.levels=[{side}], or finetune.resample_fc" if fits else "",
    )
    return fresh_fc(extractor.feature_dim, config, random)


def fresh_fc(feature_dim: int, config: FineTuneConfig, random: torch.Generator) -> FcHead:
    """Return new fc6 and fc7 that preserve the variance of features of the given norm.

    Not the release's N(0, 0.01) and bias 1, which suit 4096 wide layers only.
    """
    head = FcHead(feature_dim, size=config.fc_size, dropout=config.dropout, bias=0.0)
    std = 2**0.5 / input_norm(feature_dim, config)
    nn.init.normal_(head.fc6.weight, 0.0, std, generator=random)
    if head.fc7 is not None:
        nn.init.kaiming_normal_(head.fc7.weight, nonlinearity="relu", generator=random)
    return head


def input_norm(feature_dim: int, config: FineTuneConfig) -> float:
    """Return the mean norm of pool5 as fresh layers read it.

    SGD's steps grow with the inputs: 20, the norm of the SVMs' features, suits the papers' learning
    rates. AdamW's do not: there each number is 1 on the average (root mean square), as after a
    normalisation layer.
    """
    return FEATURE_NORM if config.optimizer == "sgd" else feature_dim**0.5


def reads_fc6(features: FeatureConfig, config: FineTuneConfig) -> bool:
    """Return whether what is trained reads fc6, so that there is nothing for fc7 to do."""
    return features.layer == "fc6" and (config.scores == "softmax" or config.joint_bbox)


def linear(inputs: int, outputs: int, std: float, random: torch.Generator) -> nn.Linear:
    """Return a linear layer with weights N(0, std) and zero bias (the releases; FR §3)."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, 0.0, std, generator=random)
    nn.init.zeros_(layer.bias)
    return layer


FEATURE_NORM = 20.0
"""That of the SVMs' features."""
