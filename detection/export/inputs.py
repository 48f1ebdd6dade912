"""What an exported graph reads, from an image and its boxes; and back to image pixels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from detection.detector import Detector
from detection.export.graph import reads_image_size
from detection.features.rcnn import RcnnExtractor
from detection.features.sppnet import SppExtractor
from detection.structures import Image, Size

Arrays = dict[str, NDArray[np.generic]]


def graph_inputs(detector: Detector, image: Image, boxes: Float[Tensor, "r 4"]) -> Arrays:
    """Return the graph's inputs, keyed by name.

    Args:
        detector: the one that was exported.
        image: the image.
        boxes: image pixels.
    """
    extractor = detector.extractor
    if isinstance(extractor, SppExtractor):
        resized = extractor.resize(image)[0][None].float().cpu().contiguous().numpy()
        height, width = resized.shape[2:]
        arrays: Arrays = {"image": resized}
        arrays["boxes"] = boxes.double().cpu().numpy() * _scale(image.size, (height, width))
        if reads_image_size(detector):
            arrays["image_size"] = np.array(image.size, np.float64)
        return arrays
    if isinstance(extractor, RcnnExtractor):
        crops = extractor.warp(extractor.encode_image(image), boxes)
        return {"crops": crops.float().cpu().contiguous().numpy()}
    message = f"extractor: expected that of SPPnet or R-CNN, got {type(extractor).__name__}"
    raise TypeError(message)


def to_image_pixels(
    boxes: NDArray[np.float32], input_size: Size, image_size: Size
) -> NDArray[np.float32]:
    """Convert a graph's boxes from input pixels to image pixels.

    Args:
        boxes: x1 y1 x2 y2 along the last axis.
        input_size: (height, width) of the resized image.
        image_size: (height, width) of the image.
    """
    return (boxes / _scale(image_size, input_size)).astype(np.float32)


def _scale(size: Size, new_size: Size) -> NDArray[np.float64]:
    """Return the factors that scale x1 y1 x2 y2 from an image to its resized version."""
    y, x = new_size[0] / size[0], new_size[1] / size[1]
    return np.array([x, y, x, y])
