"""A detector whose stages are timed, without a second version of any of them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detection.backbones.backbone import Backbone
from detection.benchmark.clock import StageClock
from detection.config import CascadeConfig, Config
from detection.detector import Detector
from detection.errors import ConfigError, require
from detection.features.extractor import FeatureExtractor
from detection.features.factory import make_extractor
from detection.features.sppnet import SppExtractor
from detection.features.units import columns_of_maps
from detection.heads.bbox_regressor import BBoxRegressors
from detection.heads.cascade import Cascade, level_spans
from detection.heads.fc import FcHead
from detection.heads.layer import FcLayer, fc_kind, identity
from detection.heads.normalisation import Normaliser
from detection.heads.scorer import Scorer, SvmScorer
from detection.heads.svm import Svms
from detection.structures import RoIFeatures
from detection.training.svm_training import HeadLayer


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TimedScorer:
    """A scorer with a clock."""

    scorer: Scorer
    clock: StageClock

    @property
    def decision_threshold(self) -> float:
        """That of the scorer."""
        return self.scorer.decision_threshold

    def score(self, features: Float[Tensor, "r d"]) -> Float[Tensor, "r k"]:
        """Return the scorer's scores."""
        with self.clock.stage("svm"):
            return self.scorer.score(features)

    def to(self, device: torch.device) -> TimedScorer:
        """Return the same scorer on another device, with the same clock."""
        return replace(self, scorer=self.scorer.to(device))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TimedCascade(Cascade):
    """A cascade with a clock."""

    clock: StageClock

    def survivors(
        self, pool5: RoIFeatures, config: CascadeConfig
    ) -> tuple[RoIFeatures, Bool[Tensor, " r"]]:
        """Return the cascade's survivors."""
        with self.clock.stage("cascade"):
            return Cascade.survivors(self, pool5, config)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TimedRegressors(BBoxRegressors):
    """Box regressors with a clock."""

    clock: StageClock

    def deltas_of(
        self,
        features: Float[Tensor, "u d"],
        labels: Int[Tensor, " r"],
        rows: Int[Tensor, " r"] | None = None,
    ) -> Float[Tensor, "r 4"]:
        """Return the regressors' deltas."""
        with self.clock.stage("regression"):
            return BBoxRegressors.deltas_of(self, features, labels, rows)


def instrument(detector: Detector, clock: StageClock) -> Detector:
    """Return the detector with a clock around every stage its extractor and heads declare.

    Args:
        detector: stays as it is.
        clock: to add the seconds to.
    """
    regressors = detector.regressors
    if regressors is not None:
        regressors = TimedRegressors(
            weight=regressors.weight, bias=regressors.bias, reads=regressors.reads, clock=clock
        )
    cascade = detector.cascade
    if cascade is not None:
        cascade = TimedCascade(**cascade.tensors(), clock=clock)
    return replace(
        detector,
        extractor=_timed(detector.extractor, clock),
        cascade=cascade,
        fc=clock.timed("fc", detector.fc),
        scorer=TimedScorer(scorer=detector.scorer, clock=clock),
        regressors=regressors,
    )


def _timed(extractor: FeatureExtractor, clock: StageClock) -> FeatureExtractor:
    """Return the extractor with a clock in its class, which the copies that it makes share."""
    kind = type(extractor)
    methods = {name: clock.timed(stage, getattr(kind, name)) for name, stage in kind.stages.items()}
    timed = copy.copy(extractor)
    timed.__class__ = type(kind.__name__, (kind,), methods)
    return timed


def untrained_detector(backbone: Backbone, config: Config, num_classes: int) -> Detector:
    """Return a detector with random heads: as fast as a trained one, useful only for timing.

    fc6 and fc7 come with the backbone where they fit, otherwise they are random and 4,096 wide.

    Args:
        backbone: shared between the methods that are compared.
        config: of one method.
        num_classes: K.

    Raises:
        ConfigError: if there is no class.
    """
    if num_classes < 1:
        message = f"num_classes: expected at least 1, got {num_classes}"
        raise ConfigError(message)
    random = torch.Generator().manual_seed(config.backbone.seed)
    extractor = make_extractor(backbone, config.features)
    device = extractor.device
    pool5_dim = feature_dim = extractor.feature_dim
    fc: HeadLayer = identity
    if config.features.layer != "pool5":
        pretrained = extractor.pretrained_fc()
        head = (
            FcHead(pool5_dim, size=config.finetune.fc_size, generator=random)
            if pretrained is None
            else FcHead.from_module(pretrained)
        )
        kind = fc_kind(config.features, extractor.dtype)
        fc = FcLayer(
            head=head.to(device), layer=config.features.layer, groups=columns_of_maps(extractor)
        ).prepared(kind)
        feature_dim = head.out_features
    weight = torch.randn(num_classes, feature_dim, generator=random) / feature_dim**0.5
    deltas = torch.randn(num_classes, 4, pool5_dim, generator=random) * 1e-3 / pool5_dim**0.5
    return Detector(
        class_names=tuple(f"class {k}" for k in range(num_classes)),
        config=config,
        extractor=extractor,
        fc=fc,
        scorer=SvmScorer(
            normaliser=Normaliser(),
            svms=Svms(weight=weight.to(device), bias=torch.zeros(num_classes, device=device)),
        ),
        regressors=BBoxRegressors(
            weight=deltas.to(device), bias=torch.zeros(num_classes, 4, device=device)
        ),
        cascade=_untrained_cascade(extractor, config, random),
    )


def _untrained_cascade(
    extractor: FeatureExtractor, config: Config, random: torch.Generator
) -> Cascade | None:
    """Return a cascade that keeps any boxes, ``cascade.keep`` of them; None where none is wanted.

    Raises:
        ConfigError: if a recall is asked for: without training there is none.
    """
    if not (config.cascade.enabled and isinstance(extractor, SppExtractor)):
        return None
    keep = config.cascade.keep
    require(keep > 0, "cascade.keep", "a number of boxes to time, as nothing is trained", keep)
    channels, levels = extractor.network.channels, config.cascade.levels
    spans = level_spans(channels, extractor.config.levels, levels)
    weight = torch.randn(int((spans[:, 1] - spans[:, 0]).sum()), generator=random)
    return Cascade(weight=weight, bias=torch.zeros(()), spans=spans, quantiles=torch.zeros(1)).to(
        extractor.device
    )
