"""What a classifier says about an image, from one view of it or from many (SPP §3.1.4, §3.1.5)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from detection.classification.augment import resize_short_side
from detection.classification.classifier import Classifier
from detection.classification.views import (
    Place,
    centre_place,
    corner_places,
    cut_out,
    nine_places,
    view_windows,
)
from detection.errors import ConfigError, require
from detection.features.pyramid import pyramid_pool
from detection.pretrain_config import ClassifyConfig, PretrainConfig
from detection.structures import Size


def view_probabilities(
    model: Classifier,
    image: UInt8[Tensor, "3 h w"],
    view: str,
    trained: PretrainConfig,
    config: ClassifyConfig,
) -> Float[Tensor, " k"]:
    """Return the class probabilities, averaged over the views of an image.

    Args:
        model: in evaluation mode.
        image: RGB, not yet resized.
        view: one of ``ClassifyConfig.views``.
        trained: the crop and short side that the model was trained with.
        config: the sizes of the views.

    Raises:
        ConfigError: for a view that takes a pyramid, of a model without one.
    """
    crop, short_side = trained.crop, trained.short_side
    with torch.inference_mode():
        if view in {"centre", "ten"}:
            resized = resize_short_side(image, short_side, crop)
            size = (int(resized.shape[1]), int(resized.shape[2]))
            places = corner_places(size, crop) if view == "ten" else [centre_place(size, crop)]
            crops = cut_out(resized, places, crop, mirrored=view == "ten")
            return _softmax(model(_to(model, crops))).mean(dim=0)
        full_side = config.full_short_side or short_side
        if view == "full":
            return full_probabilities(model, image, full_side, mirrored=False).mean(dim=0)
        if view == "ten_maps":
            return map_probabilities(model, image, short_side, crop, corner_places).mean(dim=0)
        parts = [
            map_probabilities(model, image, scale, crop, nine_places) for scale in config.scales
        ]
        if view == "all_maps_full":
            parts.append(full_probabilities(model, image, full_side, mirrored=True))
        return torch.cat(parts).mean(dim=0)


def full_probabilities(
    model: Classifier, image: UInt8[Tensor, "3 h w"], short_side: int, *, mirrored: bool
) -> Float[Tensor, "v k"]:
    """Return the probabilities of the whole image and of its mirror image (SPP §3.1.4)."""
    _need_pyramid(model)
    inputs = resize_short_side(image, short_side, model.min_size)[None]
    if mirrored:
        inputs = torch.cat((inputs, inputs.flip(3)))
    return _softmax(model(_to(model, inputs)))


def map_probabilities(
    model: Classifier,
    image: UInt8[Tensor, "3 h w"],
    short_side: int,
    crop: int,
    places: Callable[[Size, int], list[Place]],
) -> Float[Tensor, "v k"]:
    """Return the probabilities of views taken as windows of the whole image's conv map.

    The conv layers run once, on the image and its mirror image (SPP §3.1.5).

    Args:
        model: with a pyramid.
        image: RGB, not yet resized.
        short_side: of the image.
        crop: side of the views.
        places: where they lie.

    Raises:
        ConfigError: without a pyramid, and for views larger than the image.
    """
    levels = _need_pyramid(model)
    require(short_side >= crop, "classify.scales", f"at least the crop, {crop}", short_side)
    resized = resize_short_side(image, short_side, crop)
    maps = model.conv(_to(model, torch.stack((resized, resized.flip(2)))))
    size = (int(resized.shape[1]), int(resized.shape[2]))
    windows = view_windows(
        places(size, crop), crop, size, model.geometry, (int(maps.shape[2]), int(maps.shape[3]))
    )
    pooled = torch.cat([pyramid_pool(values, windows, levels) for values in maps])
    return _softmax(model.classify(pooled))


def _need_pyramid(model: Classifier) -> tuple[int, ...]:
    """Return the pyramid's levels, or raise ConfigError without a pyramid."""
    if model.levels is None:
        message = "classify.views: expected centre or ten, as the classifier has no pyramid"
        raise ConfigError(message)
    return model.levels


def _softmax(scores: Float[Tensor, "v k"]) -> Float[Tensor, "v k"]:
    return scores.softmax(dim=1)


def _to(model: Classifier, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Return images on the model's device."""
    return images.to(model.fc8.weight.device).float()
