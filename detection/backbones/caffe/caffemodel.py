"""Read the weights in a ``.caffemodel``, of any generation of Caffe, without Caffe.

Layers come in three forms: V0 (``layers { layer { ... } }``, in which the SPPnet authors released
theirs), V1 (``layers``) and V2 (``layer``). A blob states its shape as a BlobShape or as num,
channels, height and width, its values as floats or doubles, packed or one by one.

Source:
    BVLC/caffe, src/caffe/proto/caffe.proto.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.backbones.caffe.protobuf import FIXED32, FIXED64, VARINT, Field, Message, Source
from detection.errors import CheckpointError
from detection.io.reading import odd_kind

_MAX_AXES = 32
_LEGACY_AXES = (1, 2, 3, 4)
_SHAPE, _DATA, _DIFF, _DOUBLE_DATA, _DOUBLE_DIFF = 7, 5, 6, 8, 9
_V0_LAYER = 1


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Blob:
    """One array of a layer: its weights, or its bias.

    Attributes:
        shape: as stored; old files have four axes for everything.
        parts: the values in row-major order, in the pieces that the file has them in.
    """

    shape: tuple[int, ...]
    parts: tuple[NDArray[Any], ...]

    @property
    def size(self) -> int:
        """How many values there are."""
        return sum(len(part) for part in self.parts)

    def values(self) -> NDArray[np.float32]:
        """Return the values as a new array of the stored shape."""
        flat = np.concatenate([np.empty(0, np.float32), *self.parts])
        with np.errstate(over="ignore"):  # a double too large becomes infinite and is refused later
            return flat.astype(np.float32).reshape(self.shape)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class CaffeLayer:
    """One layer of a network.

    Attributes:
        name: of the layer.
        bottoms: what it reads.
        tops: what it writes.
        blobs: weights and bias; none for a layer without.
    """

    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    blobs: tuple[Blob, ...]


@dataclass(slots=True)
class _LayerBuilder:
    """What has been read of a layer."""

    name: str = ""
    bottoms: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)


def read_caffemodel(path: Path) -> tuple[CaffeLayer, ...]:
    """Read a network's layers, in order. The values stay in the file until they are asked for.

    Raises:
        CheckpointError: if the file is missing, empty, truncated or no caffemodel, naming the byte.
    """
    source = Source(_map(Path(path)), str(path))
    net = Message(source, 0, len(source.data))
    layers = []
    for entry in net:
        if entry.number in _FORMS:
            builder = _LayerBuilder()
            _read_layer(net.below(entry), builder, _FORMS[entry.number])
            layers.append(_freeze(builder))
    if not layers:
        message = (
            f"{path}: expected a network with layers, got none in {len(source.data):,} bytes that "
            f"begin with {bytes(source.data[:16])!r}; name a .caffemodel, not a .prototxt or a page"
        )
        raise CheckpointError(message)
    return tuple(layers)


def _map(path: Path) -> memoryview:
    """Return the file's bytes, memory-mapped: only the pages that are touched are loaded."""
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else odd_kind(path) or "no such file"
            message = f"{path}: expected a .caffemodel file, got {what}"
            raise CheckpointError(message)
        with path.open("rb") as file:
            if not file.read(1):
                message = f"{path}: expected a .caffemodel file, got an empty one; fetch it again"
                raise CheckpointError(message)
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        message = f"{path}: cannot be read: {error}"
        raise CheckpointError(message) from error


def _name(message: Message, entry: Field, builder: _LayerBuilder) -> None:
    builder.name = message.text(entry)


def _bottom(message: Message, entry: Field, builder: _LayerBuilder) -> None:
    builder.bottoms.append(message.text(entry))


def _top(message: Message, entry: Field, builder: _LayerBuilder) -> None:
    builder.tops.append(message.text(entry))


def _blob(message: Message, entry: Field, builder: _LayerBuilder) -> None:
    location = f"layer {builder.name!r} blob {len(builder.blobs)}"
    builder.blobs.append(_read_blob(message.below(entry), location))


def _inner(message: Message, entry: Field, builder: _LayerBuilder) -> None:
    _read_layer(message.below(entry), builder, _V0)


_Form = dict[int, Callable[[Message, Field, _LayerBuilder], None]]
_V0: _Form = {1: _name, 50: _blob}
_V1: _Form = {_V0_LAYER: _inner, 2: _bottom, 3: _top, 4: _name, 6: _blob}
_V2: _Form = {1: _name, 3: _bottom, 4: _top, 7: _blob}
_FORMS: dict[int, _Form] = {2: _V1, 100: _V2}
"""Field of the network -> what the fields of its layers mean."""


def _read_layer(message: Message, builder: _LayerBuilder, form: _Form) -> None:
    """Add the content of a message to a layer."""
    for entry in message:
        if entry.number in form:
            form[entry.number](message, entry, builder)


def _freeze(builder: _LayerBuilder) -> CaffeLayer:
    return CaffeLayer(
        name=builder.name,
        bottoms=tuple(builder.bottoms),
        tops=tuple(builder.tops),
        blobs=tuple(builder.blobs),
    )


def _read_blob(message: Message, location: str) -> Blob:
    """Read one array.

    Raises:
        CheckpointError: if the number of values does not match the shape.
    """
    shape: list[int] = []
    legacy: dict[int, int] = {}
    parts: dict[int, list[NDArray[Any]]] = {_DATA: [], _DOUBLE_DATA: []}
    for entry in message:
        if entry.number == _SHAPE:
            shape += _read_shape(message.below(entry))
        elif entry.number in _LEGACY_AXES:
            message.expect(entry, VARINT)
            legacy[entry.number] = entry.value
        elif entry.number in {_DATA, _DIFF}:
            parts.setdefault(entry.number, []).append(message.numbers(entry, FIXED32))
        elif entry.number in {_DOUBLE_DATA, _DOUBLE_DIFF}:
            parts.setdefault(entry.number, []).append(message.numbers(entry, FIXED64))
    axes = shape or [legacy.get(axis, 0) for axis in _LEGACY_AXES if legacy]
    blob = Blob(shape=tuple(axes), parts=tuple(parts[_DOUBLE_DATA] or parts[_DATA]))
    if len(axes) > _MAX_AXES or math.prod(axes) != blob.size:
        sides = " x ".join(map(str, axes[:_MAX_AXES])) or "none"
        message_text = (
            f"{message.source.location}: {location}: expected as many values as its shape "
            f"has ({sides}), got {blob.size:,}; the file is damaged"
        )
        raise CheckpointError(message_text)
    return blob


def _read_shape(message: Message) -> list[int]:
    """Read a BlobShape: the length of each axis."""
    axes: list[int] = []
    for entry in message:
        if entry.number == 1:
            axes += message.varints(entry, _MAX_AXES)
    return axes
