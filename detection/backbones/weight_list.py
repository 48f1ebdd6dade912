"""The weights available for each backbone; nothing here needs torch."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from detection.backbones.facts import FACTS, KIND, BackboneFacts, download_path
from detection.backbones.weight_packages import PACKAGES, WeightPackage, package_path
from detection.io.reading import odd_kind

_HEADINGS = (
    *("backbone", "preprocessing", "pool5 R-CNN", "SPPnet", "fc layers"),
    *("top-1", "MB", "licence", "weights"),
)

LEVELS = (1, 2, 3, 6)
"""Of the pyramid whose length is shown."""

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".caffemodel")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneEntry:
    """A backbone and its weights.

    Attributes:
        name: for ``backbone.name``.
        published: torchvision's name of its weights; empty where it publishes none.
        package: what pip calls the package with its weights; empty where there is none.
        published_file: where the published or installed weights lie; where torchvision's would.
        found: whether they are there.
        megabytes: of that file; None where nobody says.
        top1: accuracy of the whole network on ImageNet's validation images, in percent.
        licence: of the published weights; empty where nobody says.
        caffe: whose ``.caffemodel`` can be imported; empty for none.
        files: imported files in the folder, that ``backbone.weights`` may name.
        preprocessing: of the published weights, otherwise of the ``.caffemodel``.
        pool5_rcnn: channels, rows, columns of R-CNN's pool5; None where it cannot be built.
        pool5_sppnet: length of SPPnet's pool5 with the pyramid 1, 2, 3, 6; None likewise.
        fc: which fc layers come with the weights.
        needs: what to install before it can be built; empty for nothing.
    """

    name: str
    published: str
    package: str
    published_file: str
    found: bool
    megabytes: float | None
    top1: float | None
    licence: str
    caffe: str
    files: tuple[str, ...]
    preprocessing: str
    pool5_rcnn: tuple[int, int, int] | None
    pool5_sppnet: int | None
    fc: tuple[str, ...]
    needs: str = ""


def list_backbones(folder: Path) -> tuple[BackboneEntry, ...]:
    """Describe every backbone.

    Args:
        folder: where imported files may lie; it need not exist.
    """
    imported = imported_files(folder)
    return tuple(_entry(name, imported.get(name, [])) for name in FACTS)


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
    rows = [_HEADINGS, *(row for entry in entries for row in _rows(entry))]
    last = len(_HEADINGS) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last)]
    lines = [
        "  ".join([*(c.ljust(w) for c, w in zip(row[:last], widths, strict=True)), row[last]])
        for row in rows
    ]
    if others:
        note = "files that do not say whose they are: name their preprocessing too, or import them"
        lines += ["", note, *(f"  {name}" for name in others)]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _entry(name: str, files: Sequence[str]) -> BackboneEntry:
    """Describe one backbone; what is published of it is known without the library to build it."""
    facts, package = FACTS[name], PACKAGES.get(name)
    path = _path(facts, package)
    needs = "" if package is None or _has_timm() else "timm"
    return BackboneEntry(
        name=name,
        published=facts.published,
        package="" if package is None else package.distribution,
        published_file="" if path is None else str(path),
        found=path is not None and path.is_file(),
        megabytes=facts.megabytes if package is None else package.megabytes,
        top1=facts.top1 if package is None else package.top1,
        licence="" if package is None else package.licence,
        caffe=facts.caffe,
        files=tuple(files),
        preprocessing=facts.preprocessing,
        pool5_rcnn=None if needs else (facts.channels, facts.grid, facts.grid),
        pool5_sppnet=None if needs else facts.channels * sum(n * n for n in LEVELS),
        fc=("fc6", "fc7") if facts.fc else (),
        needs=needs,
    )


def _path(facts: BackboneFacts, package: WeightPackage | None) -> Path | None:
    """Return where published weights lie, or would; None where there are none."""
    if package is not None:
        return package_path(package)
    return download_path(facts.file) if facts.file else None


def _has_timm() -> bool:
    """Return whether timm is installed, without importing it."""
    if "timm" in sys.modules:
        return sys.modules["timm"] is not None
    return importlib.util.find_spec("timm") is not None


def _read_header(path: Path) -> dict[str, Any]:
    """Return a file's header without reading its tensors; empty for other kinds of file."""
    if odd_kind(path):
        return {}
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("header", "{}"))
    except (OSError, ValueError, safetensors.SafetensorError):
        return {}
    return header if isinstance(header, dict) else {}


def _rows(entry: BackboneEntry) -> list[tuple[str, ...]]:
    """Return one row per source of weights; what holds for all sources is in the first alone."""
    pool5 = "-" if entry.pool5_rcnn is None else " x ".join(map(str, entry.pool5_rcnn))
    length = "-" if entry.pool5_sppnet is None else f"{entry.pool5_sppnet:,}"
    first = (entry.name, entry.preprocessing, pool5, length, ", ".join(entry.fc) or "-")
    return [
        (*(first if number == 0 else ("",) * len(first)), *source)
        for number, source in enumerate(_sources(entry))
    ]


def _sources(entry: BackboneEntry) -> list[tuple[str, str, str, str]]:
    """Return top-1 accuracy, megabytes, licence and place of each source of the weights."""
    lines = [("-", "-", "-", f"file: {path}") for path in entry.files]
    facts = (
        "-" if entry.top1 is None else f"{entry.top1:.1f}",
        "-" if entry.megabytes is None else f"{entry.megabytes:.0f}",
        entry.licence or "-",
    )
    if entry.published:
        where = "found" if entry.found else "to be downloaded"
        place = f"torchvision: {entry.published} ({where}: {entry.published_file})"
        lines.append((*facts, place))
    if entry.package:
        command = f"pip install {entry.package}{f' {entry.needs}' if entry.needs else ''}"
        ready = entry.found and not entry.needs
        where = f"installed: {entry.published_file}" if ready else command
        lines.append((*facts, f"package: {entry.package} ({where})"))
    if entry.caffe:
        lines.append(("-", "-", "-", f".caffemodel of {entry.caffe}: detection weights import"))
    return lines or [("-", "-", "-", "none")]
