"""One vector per image: the conv map of a whole image, pooled, and the fc layers (SPP §3.2)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from detection.backbones.backbone import Backbone
from detection.classification.augment import resize_image, resize_short_side
from detection.classification.dataset import ClassificationSet, read_examples
from detection.classification.views import centre_place, cut_out, whole_window
from detection.config import Config
from detection.data.image_prefetch import read_ahead
from detection.errors import ConfigError, require
from detection.features.pyramid import pyramid_pool
from detection.features.rcnn import RcnnExtractor
from detection.features.sppnet import SppExtractor
from detection.io.progress import track
from detection.structures import Dataset, Image
from detection.training.pipeline import layer_of


def make_whole_image_extractor(backbone: Backbone, config: Config) -> SppExtractor | RcnnExtractor:
    """Return what holds the network, and fits fc6 to the vectors of ``classify.svm_pool``."""
    kinds: dict[str, type[SppExtractor] | type[RcnnExtractor]]
    kinds = {"pyramid": SppExtractor, "last_pool": RcnnExtractor}
    return kinds[config.classify.svm_pool](backbone, config.features)


def image_features(
    dataset: Dataset, extractor: SppExtractor | RcnnExtractor, config: Config
) -> Float[Tensor, "n d"]:
    """Return one unit-length vector per image of a data set.

    Raises:
        ConfigError: for several scales, for a full image without a pyramid, and for a layer that
            the weights do not have.
        DataError: if an image cannot be read.
    """
    images = read_ahead(dataset.records, max_pixels=config.data.max_pixels)
    return _features(track(images, len(dataset.records), dataset.split), extractor, config)


def example_features(
    images: ClassificationSet, extractor: SppExtractor | RcnnExtractor, config: Config
) -> Float[Tensor, "n d"]:
    """Return one unit-length vector per labelled image; raise as `image_features` does."""
    read = read_examples(images.examples, max_pixels=config.data.max_pixels)
    return _features(track(read, len(images.examples), images.name), extractor, config)


def _features(
    images: Iterable[Image], extractor: SppExtractor | RcnnExtractor, config: Config
) -> Float[Tensor, "n d"]:
    scales = config.features.scales
    require(len(scales) == 1, "features.scales", "one short side to classify with", list(scales))
    fits = config.classify.svm_pool == "pyramid" or config.classify.svm_view != "full"
    expected = "crop or warp with classify.svm_pool last_pool"
    require(fits, "classify.svm_view", expected, "full")
    layer = layer_of(extractor, config)
    with torch.inference_mode():
        rows = [layer(pool_image(image, extractor, config)).float().cpu() for image in images]
    return torch.nn.functional.normalize(torch.cat(rows))


def pool_image(
    image: Image, extractor: SppExtractor | RcnnExtractor, config: Config
) -> Float[Tensor, "1 d"]:
    """Return pool5 of a whole image, of its central square or of the image warped to a square."""
    side, view = config.features.scales[0], config.classify.svm_view
    network, backbone = extractor.network, extractor.backbone
    pixels = image.pixels.permute(2, 0, 1).contiguous()
    if view == "warp":
        pixels = resize_image(pixels, (side, side))
    else:
        pixels = resize_short_side(pixels, side, side if view == "crop" else backbone.min_size)
    if view == "crop":
        place = centre_place((pixels.shape[1], pixels.shape[2]), side)
        pixels = cut_out(pixels, [place], side, mirrored=False)[0]
    inputs = network.normalise(pixels.to(network.device).float()[None])
    maps = network.conv(inputs)
    if config.classify.svm_pool == "pyramid":
        factors = config.features.map_scales or (1.0,) * len(maps)
        parts = [
            pyramid_pool(values[0], whole_window(values[0]), config.features.levels) * factor
            for values, factor in zip(maps, factors, strict=True)
        ]
        return torch.cat(parts, dim=1)
    pooled: Tensor = backbone.last_pool(maps[0].float()).flatten(1)
    if pooled.shape[1] != extractor.feature_dim:
        message = (
            f"features.scales: expected a crop that gives {extractor.feature_dim} numbers, "
            f"{backbone.crop_size} pixels for {backbone.name}, got {side}"
        )
        raise ConfigError(message)
    return pooled
