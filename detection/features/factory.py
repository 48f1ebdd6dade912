"""Choose the extractor of a method: the only code that depends on the method's name."""

from __future__ import annotations

from detection.backbones.backbone import Backbone
from detection.config import FeatureConfig
from detection.features.rcnn import RcnnExtractor
from detection.features.sppnet import SppExtractor


def make_extractor(backbone: Backbone, config: FeatureConfig) -> SppExtractor | RcnnExtractor:
    """Return the feature extractor of ``config.method``."""
    if config.method == "sppnet":
        return SppExtractor(backbone, config)
    return RcnnExtractor(backbone, config)
