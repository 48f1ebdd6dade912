"""Convert weights to one self-describing file: tensors, preprocessing, origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from detection.backbones.backbone import PREPROCESSINGS, Backbone, BackboneSpec, Preprocessing
from detection.backbones.caffe.caffemodel import read_caffemodel
from detection.backbones.caffe.names import CAFFE_NETWORKS, LEVELS, caffe_tensors
from detection.backbones.facts import KIND
from detection.backbones.geometry import trunk_geometry
from detection.backbones.state_dict import build_fc, check_fit, rename
from detection.backbones.weight_files import read_state
from detection.backbones.weights import BACKBONES
from detection.errors import ConfigError
from detection.io.files import sha256_of_file
from detection.io.tensors import save_tensors

CAFFE_SUFFIX = ".caffemodel"


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Imported:
    """A backbone's weights under this package's names.

    Attributes:
        tensors: ``trunk.*``, and ``fc.fc6.*``, ``fc.fc7.*`` where the source had them.
        header: metadata of the written file: ``kind``, ``backbone``, ``preprocessing``,
            ``source`` and its ``source_sha256``, and ``levels``, the pyramid that fc6 reads, empty
            where it reads R-CNN's pool5 or is absent.
    """

    tensors: Mapping[str, Tensor]
    header: Mapping[str, object]

    def format(self) -> str:
        """Return a one-line summary."""
        fc6 = self.tensors.get("fc.fc6.weight")
        fc = "no fc layers" if fc6 is None else f"fc6 of {fc6.shape[1]:,} inputs, fc7"
        count = sum(tensor.numel() for tensor in self.tensors.values())
        header = self.header
        return f"{header['backbone']}, {header['preprocessing']}, {count:,} numbers, {fc}"


def import_weights(
    source: Path,
    name: str,
    *,
    preprocessing: str = "auto",
    levels: Sequence[int] = (),
) -> Imported:
    """Read a ``.caffemodel``, a state dict of torchvision's or a ``.safetensors`` file.

    Args:
        source: the file; what is not ``.caffemodel`` or ``.safetensors`` is read as a state dict.
        name: of the backbone that it holds.
        preprocessing: what the weights expect; ``auto`` takes the file's, or for a
            ``.caffemodel`` what its network was trained with.
        levels: of a ``.caffemodel``, the order of the pyramid that its fc6 reads.

    Raises:
        ConfigError: for an unknown backbone, and where the preprocessing is not known or is not
            the one that the file declares.
        CheckpointError: if the file is missing, damaged, not finite or of another network.
    """
    if name not in BACKBONES:
        message = f"backbone: expected one of {', '.join(BACKBONES)}, got {name!r}"
        raise ConfigError(message)
    spec = BACKBONES[name]()
    location = str(source)
    said, pyramid = "auto", []
    if source.suffix.lower() == CAFFE_SUFFIX:
        layers = read_caffemodel(source)
        tensors = caffe_tensors(layers, name, spec, location, levels)
        said = CAFFE_NETWORKS[name].preprocessing
        pyramid = list(LEVELS) if _reads_pyramid(tensors, spec) else []
    else:
        state, metadata = read_state(source)
        tensors = rename(state, spec, location)
        said = str(metadata.get("preprocessing", spec.preprocessing))
        pyramid = _levels_of(metadata)
    chosen = _preprocessing(preprocessing, said, source)
    _check(name, spec, chosen, tensors, location)
    header = {
        "kind": KIND,
        "backbone": name,
        "preprocessing": chosen,
        "source": source.name,
        "source_sha256": sha256_of_file(source),
        "levels": pyramid,
    }
    return Imported(tensors=tensors, header=header)


def save_imported(path: Path, imported: Imported) -> None:
    """Write a file that ``backbone.weights`` can name without ``backbone.preprocessing``.

    Raises:
        DataError: if the file cannot be written; an old one stays.
    """
    save_tensors(path, imported.tensors, imported.header)


def _reads_pyramid(tensors: Mapping[str, Tensor], spec: BackboneSpec) -> bool:
    """Return whether fc6's input width matches the pyramid."""
    fc6 = tensors.get("fc.fc6.weight")
    return fc6 is not None and fc6.shape[1] == spec.channels * sum(n * n for n in LEVELS)


def _levels_of(metadata: Mapping[str, object]) -> list[int]:
    """Return the pyramid levels that a file declares for its fc6."""
    levels = metadata.get("levels")
    return [n for n in levels if isinstance(n, int)] if isinstance(levels, list) else []


def _preprocessing(wanted: str, said: str, source: Path) -> str:
    """Return the preprocessing the user names, else the file's; the two must not differ."""
    known = said in PREPROCESSINGS and source.suffix.lower() != CAFFE_SUFFIX
    if wanted != "auto" and known and wanted != said:
        message = f"preprocessing: expected {said}, which {source} says of itself, got {wanted!r}"
        raise ConfigError(message)
    name = said if wanted == "auto" else wanted
    if name not in PREPROCESSINGS:
        message = (
            f"preprocessing: expected one of {', '.join(PREPROCESSINGS)} for {source}, got "
            f"{name!r}; it belongs to the weights and cannot be guessed"
        )
        raise ConfigError(message)
    return name


def _check(
    name: str, spec: BackboneSpec, preprocessing: str, tensors: Mapping[str, Tensor], location: str
) -> None:
    """Refuse tensors that are not exactly those of the backbone."""
    expects: Preprocessing = PREPROCESSINGS[preprocessing]
    with torch.device("meta"):
        fc = build_fc(tensors, location)
    geometry = trunk_geometry(spec.trunk)
    check_fit(Backbone(name, spec, geometry, expects, fc), tensors, location)
