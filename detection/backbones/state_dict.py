"""Tensors by name: from the names of others to ours, and into a backbone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from detection.backbones.backbone import Backbone, BackboneSpec
from detection.errors import CheckpointError

_DROPOUT = 0.5
_CLASSIFIER = "fc8."
"""The last layer in the files of this package's classifiers; a backbone ends before it."""


def rename(tensors: Mapping[str, Tensor], spec: BackboneSpec, location: str) -> dict[str, Tensor]:
    """Return the tensors under this package's names, without those of layers after the trunk.

    Raises:
        CheckpointError: for a key that belongs to another network, and for values not finite.
    """
    renamed: dict[str, Tensor] = {}
    foreign: list[str] = []
    for key, tensor in tensors.items():
        if key.startswith(("trunk.", "fc.fc")):
            renamed[key] = tensor
            continue
        pair = next((pair for pair in spec.renames if key.startswith(pair[0])), None)
        if pair is not None:
            renamed[pair[1] + key[len(pair[0]) :]] = tensor
        elif not key.startswith((*spec.unused, _CLASSIFIER)):
            foreign.append(key)
    if foreign:
        message = (
            f"{location}: expected the keys of this backbone, got {_shorten(foreign)}; check "
            "backbone.name"
        )
        raise CheckpointError(message)
    renamed = {key: _to_float(tensor) for key, tensor in renamed.items()}
    broken = [key for key, tensor in renamed.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        message = f"{location}: expected finite weights, got NaN or infinity in {_shorten(broken)}"
        raise CheckpointError(message)
    return renamed


def build_fc(tensors: Mapping[str, Tensor], location: str) -> nn.Module | None:
    """Return uninitialised fc6 and fc7 (ReLU, dropout 0.5) sized for the tensors, or None.

    Raises:
        CheckpointError: if one of the two is missing or they do not fit together.
    """
    fc6, fc7 = tensors.get("fc.fc6.weight"), tensors.get("fc.fc7.weight")
    if fc6 is None and fc7 is None:
        return None
    if fc6 is None or fc7 is None or fc6.ndim != 2 or fc7.ndim != 2 or len(fc6) != fc7.shape[1]:
        shapes = [None if t is None else tuple(t.shape) for t in (fc6, fc7)]
        message = f"{location}: expected fc6 and fc7 that fit together, got shapes {shapes}"
        raise CheckpointError(message)
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            fc6=nn.Linear(fc6.shape[1], fc6.shape[0], device="meta").to_empty(device="cpu"),
            relu6=nn.ReLU(inplace=True),
            drop6=nn.Dropout(_DROPOUT),
            fc7=nn.Linear(fc7.shape[1], fc7.shape[0], device="meta").to_empty(device="cpu"),
            relu7=nn.ReLU(inplace=True),
            drop7=nn.Dropout(_DROPOUT),
        )
    )


def fill(backbone: Backbone, tensors: Mapping[str, Tensor], location: str) -> None:
    """Copy tensors into a backbone.

    Raises:
        CheckpointError: if they are not its own, see `check_fit`.
    """
    check_fit(backbone, tensors, location)
    backbone.load_state_dict(dict(tensors), strict=False)


def check_fit(backbone: Backbone, tensors: Mapping[str, Tensor], location: str) -> None:
    """Compare names and shapes; the backbone's parameters may be on ``meta``.

    Raises:
        CheckpointError: listing the keys that are missing or too many, the shapes that differ, and
            whole numbers where the network has real ones.
    """
    own = backbone.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - tensors.keys() - counters)
    extra = sorted(tensors.keys() - own.keys())
    shapes = [
        f"{key}: {tuple(own[key].shape)} in the network, {tuple(tensors[key].shape)} in the file"
        for key in own.keys() & tensors.keys()
        if own[key].shape != tensors[key].shape
    ]
    kinds = [
        f"{key}: {own[key].dtype} in the network, {tensors[key].dtype} in the file"
        for key in own.keys() & tensors.keys()
        if own[key].is_floating_point() != tensors[key].is_floating_point()
        or tensors[key].is_complex()
    ]
    problems = [
        f"{kind} {_shorten(keys)}"
        for kind, keys in (
            ("missing", missing),
            ("unknown", extra),
            ("shapes", sorted(shapes)),
            ("numbers", sorted(kinds)),
        )
        if keys
    ]
    if problems:
        message = (
            f"{location}: expected the weights of {backbone.name}, got {'; '.join(problems)}; "
            "check backbone.name"
        )
        raise CheckpointError(message)


def _to_float(tensor: Tensor) -> Tensor:
    """Store weights of any precision as float32; leave counters alone."""
    return tensor.float() if tensor.is_floating_point() else tensor


def _shorten(names: list[str], most: int = 5) -> str:
    """List a few names and count the rest."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
