"""A small detector with random weights: for examples, tests and a first look, not for accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from detection.backbones.weights import load_backbone
from detection.config import BackboneConfig, Config, FeatureConfig, Method, ProposalConfig
from detection.detector import Detector
from detection.features.factory import make_extractor
from detection.heads.layer import identity
from detection.heads.normalisation import Normaliser
from detection.heads.scorer import SvmScorer
from detection.heads.svm import Svms


def tiny_detector(
    class_names: Sequence[str] = ("cat", "dog"), *, method: Method = "sppnet", seed: int = 0
) -> Detector:
    """Return a detector that finds something in most images, in milliseconds on a CPU.

    It needs neither weights nor a network, and can be saved and loaded as a trained one.

    Args:
        class_names: label -> name.
        method: of the two.
        seed: other random weights.

    Examples:
        >>> tiny_detector(("ball", "cup")).class_names
        ('ball', 'cup')
    """
    config = Config(
        proposals=ProposalConfig(max_boxes=20),
        backbone=BackboneConfig(name="squeezenet", seed=seed),
        features=FeatureConfig(
            method=method, layer="pool5", scales=(96,), levels=(1, 2), device="cpu"
        ),
    )
    backbone = load_backbone(config.backbone, to_train=True)
    extractor = make_extractor(backbone, config.features)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(len(class_names), extractor.feature_dim, generator=generator)
    norm = torch.linalg.vector_norm(weight, dim=1, keepdim=True)
    svms = Svms(weight=weight / norm, bias=torch.zeros(len(class_names)))
    return Detector(
        class_names=tuple(class_names),
        config=config,
        extractor=extractor,
        fc=identity,
        scorer=SvmScorer(normaliser=Normaliser(factor=1.0), svms=svms),
        regressors=None,
    )
