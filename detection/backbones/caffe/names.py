"""From the layers of a ``.caffemodel`` to the tensors of this package's backbones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from detection.backbones.backbone import BackboneSpec
from detection.backbones.caffe.caffemodel import CaffeLayer
from detection.errors import CheckpointError, ConfigError

LEVELS = (1, 2, 3, 6)
"""The pyramid in the order of ``features.levels``, to which every fc6 is brought."""

_FC = ("fc6", "fc7")
_VGG16 = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_VGG16_BLOCKS = (2, 2, 3, 3, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaffeNetwork:
    """What a published Caffe network is called and how it differs from ours.

    Attributes:
        convs: (its conv layer, our module of the trunk), in order.
        preprocessing: what its weights expect, by name.
        source: who published it.
    """

    convs: tuple[tuple[str, str], ...]
    preprocessing: str
    source: str


def _five(preprocessing: str, source: str) -> CaffeNetwork:
    convs = tuple((f"conv{n}", f"conv{n}") for n in range(1, 6))
    return CaffeNetwork(convs=convs, preprocessing=preprocessing, source=source)


CAFFE_NETWORKS = {
    "zf5": _five("constant128", "the SPPnet authors' ZF-5 (Zeiler_conv5)"),
    "caffenet": _five("caffe", "BVLC's CaffeNet, and R-CNN's fine-tuned ones"),
    "vgg16": CaffeNetwork(
        convs=tuple(
            zip(
                [f"conv{b}_{i + 1}" for b, n in enumerate(_VGG16_BLOCKS, 1) for i in range(n)],
                map(str, _VGG16),
                strict=True,
            )
        ),
        preprocessing="caffe",
        source="VGG's 16 layers (VGG_ILSVRC_16_layers)",
    ),
}
"""By backbone. All read BGR; the mean images and means of the sources are rounded to
``Preprocessing``'s constants."""


def caffe_tensors(
    layers: Sequence[CaffeLayer],
    name: str,
    spec: BackboneSpec,
    location: str,
    levels: Sequence[int] = (),
) -> dict[str, Tensor]:
    """Return a backbone's weights under its own names: ``trunk.*``, and ``fc.*`` if present.

    Args:
        layers: of the file.
        name: of the backbone.
        spec: of the backbone; its shapes are asked for.
        location: what errors name, the file.
        levels: the order of the pyramid that fc6 reads, ``LEVELS`` where neither this nor the file
            says; fc6's columns are moved to the order of ``LEVELS``.

    Raises:
        ConfigError: for a backbone that Caffe never had.
        CheckpointError: for a missing, foreign or repeated layer, and for a wrong shape.
    """
    if name not in CAFFE_NETWORKS:
        hint = "; Caffe's AlexNet as R-CNN used it is caffenet" if name == "alexnet" else ""
        message = (
            f"backbone: expected one of {', '.join(CAFFE_NETWORKS)} for a .caffemodel, got "
            f"{name!r}{hint}"
        )
        raise ConfigError(message)
    convs = CAFFE_NETWORKS[name].convs
    weighted = _weighted(layers, location)
    present = [fc for fc in _FC if fc in weighted]
    wanted = [conv for conv, _ in convs] + (list(_FC) if present else [])
    missing = [layer for layer in wanted if layer not in weighted]
    if missing:
        message = f"{location}: expected the layers of {name}, got none named {', '.join(missing)}"
        raise CheckpointError(message)
    _check_order(layers, weighted, name, location)
    shapes = {key: tuple(t.shape) for key, t in spec.trunk.state_dict().items()}
    tensors: dict[str, Tensor] = {}
    for conv, module in convs:
        for kind, index in (("weight", 0), ("bias", 1)):
            key = f"{module}.{kind}"
            tensors[f"trunk.{key}"] = _tensor(weighted[conv], index, shapes[key], location)
    if present:
        tensors |= _fc_tensors(layers, weighted, spec, location, levels)
    return tensors


def pyramid_columns(
    channels: int, stored: Sequence[int], wanted: Sequence[int]
) -> Int[Tensor, " d"]:
    """Return ``p`` such that ``pooled_wanted == pooled_stored[:, p]``, and so of fc6's columns.

    Both have each level flattened channel, row, column; only the order of the levels differs.
    """
    starts: dict[int, int] = {}
    total = 0
    for level in stored:
        starts[level] = total
        total += channels * level * level
    parts = [torch.arange(starts[n], starts[n] + channels * n * n) for n in wanted]
    return torch.cat(parts)


def stored_levels(layers: Sequence[CaffeLayer]) -> tuple[int, ...]:
    """Read the order of the pyramid off the layer that fc6 reads; empty if unknown.

    The release joins ``pool5_spm1_flatten``, ``pool5_spm2_flatten`` and so on.
    """
    reads = {bottom for layer in layers if layer.name == "fc6" for bottom in layer.bottoms}
    for layer in layers:
        if reads & set(layer.tops) and len(layer.bottoms) > 1:
            matches = [re.search(r"sp[mp]_?(\d{1,2})(?!\d)", bottom) for bottom in layer.bottoms]
            levels = tuple(int(match.group(1)) for match in matches if match)
            return levels if len(levels) == len(layer.bottoms) else ()
    return ()


def _weighted(layers: Sequence[CaffeLayer], location: str) -> dict[str, CaffeLayer]:
    """Return the layers that have weights, keyed by name."""
    weighted: dict[str, CaffeLayer] = {}
    for layer in layers:
        if layer.blobs and layer.name in weighted:
            message = f"{location}: expected each layer once, got {layer.name!r} twice with weights"
            raise CheckpointError(message)
        if layer.blobs:
            weighted[layer.name] = layer
    return weighted


def _check_order(
    layers: Sequence[CaffeLayer], weighted: Mapping[str, CaffeLayer], name: str, location: str
) -> None:
    """Refuse networks whose conv layers have the same names and shapes and yet others between."""
    own = [conv for conv, _ in CAFFE_NETWORKS[name].convs]
    order = [layer.name for layer in layers]
    until = max(order.index(conv) for conv in own)
    foreign = [n for n in order[:until] if n in weighted and n not in {*own, *_FC}]
    if foreign:
        message = f"{location}: expected the layers of {name}, got {foreign[0]!r} among them"
        raise CheckpointError(message)
    both = name == "caffenet" and {"norm1", "pool1"} <= set(order)
    if both and order.index("norm1") < order.index("pool1"):
        message = (
            f"{location}: expected CaffeNet, which pools and then normalises, got a network that "
            "normalises first (Caffe's AlexNet); take bvlc_reference_caffenet"
        )
        raise CheckpointError(message)


def _fc_tensors(
    layers: Sequence[CaffeLayer],
    weighted: Mapping[str, CaffeLayer],
    spec: BackboneSpec,
    location: str,
    levels: Sequence[int],
) -> dict[str, Tensor]:
    """Return fc6 and fc7 with fc6's columns in this package's pool5 order."""
    said = stored_levels(layers)
    if levels and said and tuple(levels) != said:
        message = f"levels: expected {list(said)}, as {location} has them, got {list(levels)}"
        raise ConfigError(message)
    order = tuple(levels) or said or LEVELS
    if sorted(order) != sorted(LEVELS):
        message = f"levels: expected 1, 2, 3 and 6 in some order, got {list(order)}"
        raise ConfigError(message)
    pyramid = spec.channels * sum(n * n for n in order)
    crop = spec.channels * spec.grid**2
    rows, columns = _matrix_shape(weighted["fc6"], location)
    if columns not in {pyramid, crop}:
        message = (
            f"{location}: layer fc6: expected {crop:,} inputs (R-CNN's pool5) or {pyramid:,} (the "
            f"pyramid's), got {columns:,}"
        )
        raise CheckpointError(message)
    fc6 = _tensor(weighted["fc6"], 0, (rows, columns), location)
    if columns == pyramid:
        fc6 = fc6[:, pyramid_columns(spec.channels, order, LEVELS)]
    last = _matrix_shape(weighted["fc7"], location)[0]
    return {
        "fc.fc6.weight": fc6,
        "fc.fc6.bias": _tensor(weighted["fc6"], 1, (rows,), location),
        "fc.fc7.weight": _tensor(weighted["fc7"], 0, (last, rows), location),
        "fc.fc7.bias": _tensor(weighted["fc7"], 1, (last,), location),
    }


def _matrix_shape(layer: CaffeLayer, location: str) -> tuple[int, int]:
    """Return the (outputs, inputs) shape of an fc layer."""
    shape = _without_ones(layer.blobs[0].shape, 2)
    if len(shape) != 2 or min(shape) < 1:
        message = f"{location}: layer {layer.name}: expected a matrix, got shape {shape}"
        raise CheckpointError(message)
    return shape[0], shape[1]


def _tensor(layer: CaffeLayer, index: int, shape: tuple[int, ...], location: str) -> Tensor:
    """Return one blob of a layer after checking its shape; only then is it read from the file."""
    kind = ("weight", "bias")[index]
    if len(layer.blobs) != 2:
        message = (
            f"{location}: layer {layer.name}: expected weights and bias, got "
            f"{len(layer.blobs)} blobs"
        )
        raise CheckpointError(message)
    blob = layer.blobs[index]
    if _without_ones(blob.shape, len(shape)) != shape:
        message = f"{location}: layer {layer.name}: expected {kind} {shape}, got {blob.shape}"
        raise CheckpointError(message)
    tensor = torch.from_numpy(blob.values()).reshape(shape)
    if not bool(torch.isfinite(tensor).all()):
        message = f"{location}: layer {layer.name}: expected finite {kind}, got NaN or infinity"
        raise CheckpointError(message)
    return tensor


def _without_ones(shape: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """Leave out the leading axes of length 1 that old files fill up to four with."""
    while len(shape) > axes and shape[0] == 1:
        shape = shape[1:]
    return shape
