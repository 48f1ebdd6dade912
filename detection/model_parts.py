"""Whether the parts of a model file are what they must be, before anything is built of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from detection.config import MAX_LEVELS, Config
from detection.errors import CheckpointError, ConfigError, is_line, shown
from detection.io.tensors import is_finite
from detection.runs.config_io import config_from_dict
from detection.words import counted

DETECTOR_FIELDS = ("class_names", "config", "feature_dim", "preprocessing")
CLASSIFIER_FIELDS = ("class_names", "config", "levels", "preprocessing")

_SMALLEST, _LARGEST = 1e-30, 1e30
"""Factors that leave features finite in float32."""

_CASCADE = ("cascade.weight", "cascade.bias", "cascade.quantiles")

_MAX_DIM = 1 << 24
"""Longest feature: 64 MiB of float32."""


def check_header(
    path: Path, header: Mapping[str, Any], fields: Sequence[str] = DETECTOR_FIELDS
) -> None:
    """Make sure that a model's header has its fields, each of its kind.

    Raises:
        CheckpointError: naming those that are missing, or the first that is wrong.
    """
    missing = [name for name in fields if name not in header]
    if missing:
        message = f"{path}: expected a header with {', '.join(missing)}, got none; write it again"
        raise CheckpointError(message)
    for name, (expected, holds) in _RULES.items():
        if name in header and not holds(header[name]):
            message = (
                f"{path}: {name}: expected {expected}, got {shown(header[name])}; write it again"
            )
            raise CheckpointError(message)


def check_calibration(path: Path, header: Mapping[str, Any]) -> None:
    """Make sure that a calibration, where there is one, is for the file's classes.

    Raises:
        CheckpointError: if it is for others, or no calibration.
    """
    stored = header.get("calibration")
    if "calibration" in header and not is_calibration(stored, len(header["class_names"])):
        message = (
            f"{path}: calibration: expected a slope above 0 and an offset for each class, and a "
            f"threshold, got {shown(stored)}; write it again"
        )
        raise CheckpointError(message)


def stored_config(path: Path, header: Mapping[str, Any]) -> Config:
    """Return the configuration in a model's header.

    Raises:
        CheckpointError: naming the file and the option that is unknown or out of range.
    """
    try:
        return config_from_dict(header["config"], str(path))
    except ConfigError as error:
        said = str(error)
        message = said if said.startswith(str(path)) else f"{path}: {said}"
        raise CheckpointError(message) from error


def check_fc(path: Path, tensors: Mapping[str, Tensor], feature_dim: int, layer: str) -> None:
    """Make sure that fc6 and fc7, where there are any, fit together and to pool5.

    Raises:
        CheckpointError: naming the tensor with what was expected of it.
    """
    if not any(name.startswith("fc.") for name in tensors):
        if layer != "pool5":
            message = f"{path}: expected the fc layers that {layer} needs, got none; write it again"
            raise CheckpointError(message)
        return
    weight = tensors.get("fc.fc6.weight")
    size = len(weight) if weight is not None and weight.ndim == 2 else 0
    shapes = {
        "fc.fc6.weight": (size or "f", feature_dim),
        "fc.fc6.bias": (size,),
        "fc.fc7.weight": (size, size),
        "fc.fc7.bias": (size,),
    }
    if layer == "fc6" and not any(name.startswith("fc.fc7.") for name in tensors):
        shapes = {name: shape for name, shape in shapes.items() if name.startswith("fc.fc6.")}
    for name in sorted({*shapes, *tensors}):
        got = tuple(tensors[name].shape) if name in tensors else "none"
        if name.startswith("fc.") and got != shapes.get(name):
            message = (
                f"{path}: {name}: expected {shapes.get(name, 'no such tensor')}, got {got}; its "
                "parts do not belong together, write it again"
            )
            raise CheckpointError(message)


def check_heads(
    path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any], layer: str
) -> None:
    """Make sure that scorer and regressors have a row for each class and fit what they read.

    Raises:
        CheckpointError: naming the tensor with what was expected of it.
    """
    num_classes, pool5_dim = len(header["class_names"]), header["feature_dim"]
    read_dim = pool5_dim if layer == "pool5" else len(tensors["fc.fc6.weight"])
    scorer = "fc8" if "fc8.weight" in tensors else "svm"
    rows = num_classes + (scorer == "fc8")  # the softmax has a row for the background
    expected: dict[str, tuple[int, ...]] = {
        f"{scorer}.weight": (rows, read_dim),
        f"{scorer}.bias": (rows,),
    }
    if "bbox.weight" in tensors:
        dim = pool5_dim if header.get("bbox_reads", "pool5") == "pool5" else read_dim
        expected |= {"bbox.weight": (num_classes, 4, dim), "bbox.bias": (num_classes, 4)}
    for name, wanted in expected.items():
        got = tuple(tensors[name].shape) if name in tensors else "none"
        if got != wanted:
            classes = counted(num_classes, "class")
            message = (
                f"{path}: {name}: expected {wanted} for {classes}, got {got}; its parts do not "
                "belong together, write it again"
            )
            raise CheckpointError(message)
    if scorer == "svm" and "svm_factor" not in header:
        message = f"{path}: expected a header with svm_factor, got none; write it again"
        raise CheckpointError(message)


def check_cascade(path: Path, tensors: Mapping[str, Tensor], feature_dim: int) -> None:
    """Make sure that a cascade, where there is one, is whole and reads pool5.

    Raises:
        CheckpointError: naming the tensor with what was expected of it.
    """
    given = {name: tensor for name, tensor in tensors.items() if name.startswith("cascade.")}
    if not given:
        return
    spans = given.get("cascade.spans", torch.zeros(0))
    edges = spans.flatten()
    whole = spans.ndim == 2 and spans.shape[1] == 2 and len(spans) > 0
    if not whole or spans.dtype != torch.int64 or not _are_ordered(edges, feature_dim):
        _refuse(path, "cascade.spans", f"ascending ranges of {feature_dim} columns, int64", spans)
    count = int((spans[:, 1] - spans[:, 0]).sum())
    for name, shape in (("cascade.weight", (count,)), ("cascade.bias", ())):
        if name not in given or given[name].shape != shape:
            _refuse(path, name, f"the shape {shape}", given.get(name))
    levels = given.get("cascade.quantiles")
    if levels is None or levels.ndim != 1 or not len(levels) or bool((levels.diff() < 0).any()):
        _refuse(path, "cascade.quantiles", "ascending scores", levels)
    other = sorted(given.keys() - {"cascade.spans", *_CASCADE})
    if other:
        _refuse(path, other[0], "no such tensor", given[other[0]])


def _are_ordered(edges: Tensor, feature_dim: int) -> bool:
    """Return whether ranges, edge after edge, have columns, follow each other and lie in pool5."""
    inside = int(edges.min()) >= 0 and int(edges.max()) <= feature_dim
    return inside and bool((edges.diff()[0::2] > 0).all()) and bool((edges.diff() >= 0).all())


def _refuse(path: Path, name: str, expected: str, got: Tensor | None) -> NoReturn:
    shown_as = "none" if got is None else f"{tuple(got.shape)} of {got.dtype}"
    message = (
        f"{path}: {name}: expected {expected}, got {shown_as}; its parts do not belong together, "
        "write it again"
    )
    raise CheckpointError(message)


def as_float(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with every head in float32.

    Raises:
        CheckpointError: naming a tensor that holds no real numbers.
    """
    heads = ("fc.", "svm.", "fc8.", "bbox.", *_CASCADE)
    for name, tensor in tensors.items():
        if tensor.is_complex() or (name.startswith(heads) and not tensor.is_floating_point()):
            message = (
                f"{path}: {name}: expected real numbers, got {tensor.dtype}; its parts do not "
                "belong together, write it again"
            )
            raise CheckpointError(message)
    cast = {name: t.float() if name.startswith(heads) else t for name, t in tensors.items()}
    for name, tensor in cast.items():
        if tensors[name].dtype == torch.float64 and not is_finite(tensor.float()):
            message = f"{path}: {name}: expected numbers that float32 holds, got larger ones"
            raise CheckpointError(message)
    return cast


def _are_names(value: object) -> bool:
    """Return whether a value is a list of distinct, valid strings."""
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        return False
    written = all(_is_name(name) for name in value)
    return len(set(value)) == len(value) and written


def _is_name(name: str) -> bool:
    """Return whether a text is a name; those of a data set come without blanks around them."""
    return bool(name) and name == name.strip() and is_line(name)


def is_calibration(value: object, num_classes: int) -> bool:
    """Return whether a header's calibration holds numbers for so many classes."""
    if not isinstance(value, dict):
        return False
    slope, offset = value.get("slope"), value.get("offset")
    lists = (slope, offset, value.get("right", []))
    if not all(isinstance(v, list) and all(map(_is_number, v)) for v in lists):
        return False
    fits = len(slope or []) == len(offset or []) == num_classes
    rest = (value.get("threshold"), value.get("f1", 0), value.get("images", 0))
    return fits and all(map(_is_positive, slope or [])) and all(map(_is_number, rest))


def _is_number(value: object) -> bool:
    return type(value) in {int, float} and abs(float(str(value))) < _LARGEST


def _is_positive(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return _SMALLEST < value < _LARGEST


def _are_levels(value: object) -> bool:
    """Return whether a value is a pyramid's levels, or None for a network without a pyramid."""
    if value is None:
        return True
    if not isinstance(value, list) or not 0 < len(value) <= MAX_LEVELS:
        return False
    return all(type(n) is int and 1 <= n <= MAX_LEVELS for n in value)


_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "class_names": ("a list of different names", _are_names),
    "config": ("sections with options", lambda value: isinstance(value, dict)),
    "feature_dim": ("a whole number", lambda value: type(value) is int and 0 < value < _MAX_DIM),
    "levels": ("the levels of a pyramid", _are_levels),
    "preprocessing": ("a name", lambda value: isinstance(value, str)),
    "svm_factor": ("a positive number", _is_positive),
    "bbox_reads": ("pool5 or scored", lambda value: value in ["pool5", "scored"]),
    "fc_start": (
        "weights, resampled or random",
        lambda value: value in ["weights", "resampled", "random"],
    ),
}
