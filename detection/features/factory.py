"""Choose the extractor of a method: the only code that depends on the method's name."""

from __future__ import annotations

from collections.abc import Mapping

from detection.backbones.backbone import Backbone
from detection.config import FeatureConfig, Method
from detection.features.rcnn import RcnnExtractor
from detection.features.sppnet import SppExtractor

EXTRACTORS: Mapping[Method, type[SppExtractor] | type[RcnnExtractor]] = {
    "sppnet": SppExtractor,
    "rcnn": RcnnExtractor,
}


def make_extractor(backbone: Backbone, config: FeatureConfig) -> SppExtractor | RcnnExtractor:
    """Return the feature extractor of ``config.method``."""
    return EXTRACTORS[config.method](backbone, config)
