"""The weights available for each backbone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from detection.backbones.backbone import BackboneSpec
from detection.backbones.caffe.names import CAFFE_NETWORKS, LEVELS
from detection.backbones.weight_files import published_enum, published_path
from detection.backbones.weights import BACKBONES, KIND

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".caffemodel")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneEntry:
    """A backbone and its weights.

    Attributes:
        name: for ``backbone.name``.
        published: torchvision's name of its weights; empty where it publishes none.
        published_file: where they lie, or would.
        found: whether they are there.
        caffe: whose ``.caffemodel`` can be imported; empty for none.
        files: imported files in the folder, that ``backbone.weights`` may name.
        preprocessing: of the published weights, otherwise of the ``.caffemodel``.
        pool5_rcnn: channels, rows, columns of R-CNN's pool5.
        pool5_sppnet: length of SPPnet's pool5 with the pyramid 1, 2, 3, 6.
        fc: which fc layers come with the weights.
    """

    name: str
    published: str
    published_file: str
    found: bool
    caffe: str
    files: tuple[str, ...]
    preprocessing: str
    pool5_rcnn: tuple[int, int, int]
    pool5_sppnet: int
    fc: tuple[str, ...]


def list_backbones(folder: Path) -> tuple[BackboneEntry, ...]:
    """Describe every backbone.

    Args:
        folder: where imported files may lie; it need not exist.
    """
    imported = imported_files(folder)
    return tuple(_entry(name, build(), imported) for name, build in BACKBONES.items())


def imported_files(folder: Path) -> dict[str, list[str]]:
    """Return the files in a folder that `detection weights import` wrote, keyed by backbone."""
    files: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        header = _read_header(path)
        if header.get("kind") == KIND:
            files.setdefault(str(header.get("backbone")), []).append(str(path))
    return files


def other_files(folder: Path) -> tuple[str, ...]:
    """Return the weight files in a folder that do not declare a network."""
    known = {name for names in imported_files(folder).values() for name in names}
    weight_files = (
        str(path) for path in sorted(folder.glob("*")) if path.suffix in WEIGHT_SUFFIXES
    )
    return tuple(name for name in weight_files if name not in known)


def format_backbones(entries: Sequence[BackboneEntry], others: Sequence[str] = ()) -> str:
    """Return a table with one line per backbone and source of weights.

    Args:
        entries: the backbones.
        others: files to name below it.
    """
    rows = [("backbone", "preprocessing", "pool5 R-CNN", "SPPnet", "fc layers", "weights")]
    for entry in entries:
        pool5 = " x ".join(map(str, entry.pool5_rcnn))
        fc = ", ".join(entry.fc) or "-"
        first = (entry.name, entry.preprocessing, pool5, f"{entry.pool5_sppnet:,}", fc)
        for number, source in enumerate(_sources(entry)):
            rows.append((*(first if number == 0 else ("",) * 5), source))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([*(c.ljust(w) for c, w in zip(row[:5], widths, strict=True)), row[5]])
        for row in rows
    ]
    if others:
        note = "files that do not say whose they are: name their preprocessing too, or import them"
        lines += ["", note, *(f"  {name}" for name in others)]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _entry(name: str, spec: BackboneSpec, imported: dict[str, list[str]]) -> BackboneEntry:
    published, path = "", None
    if spec.published is not None:
        path = published_path(spec.published)
        published = published_enum(spec.published)
    caffe = CAFFE_NETWORKS.get(name)
    has_fc = caffe is not None or any(ours == "fc.fc6." for _, ours in spec.renames)
    from_caffe = "-" if caffe is None else caffe.preprocessing
    return BackboneEntry(
        name=name,
        published=published,
        published_file="" if path is None else str(path),
        found=path is not None and path.is_file(),
        caffe="" if caffe is None else caffe.source,
        files=tuple(imported.get(name, ())),
        preprocessing="torchvision" if published else from_caffe,
        pool5_rcnn=(spec.channels, spec.grid, spec.grid),
        pool5_sppnet=spec.channels * sum(n * n for n in LEVELS),
        fc=("fc6", "fc7") if has_fc else (),
    )


def _read_header(path: Path) -> dict[str, Any]:
    """Return a file's header without reading its tensors; empty for other kinds of file."""
    try:
        with safetensors.safe_open(str(path), framework="pt", device="cpu") as file:
            header = json.loads((file.metadata() or {}).get("header", "{}"))
    except (OSError, ValueError, safetensors.SafetensorError):
        return {}
    return header if isinstance(header, dict) else {}


def _sources(entry: BackboneEntry) -> list[str]:
    """Return the sources of the weights, one per line."""
    lines = [f"file: {path}" for path in entry.files]
    if entry.published:
        where = "found" if entry.found else "to be downloaded"
        lines.append(f"torchvision: {entry.published} ({where}: {entry.published_file})")
    if entry.caffe:
        lines.append(f".caffemodel of {entry.caffe}: detection weights import")
    return lines or ["none"]
